"""The first embedded model was trained with orthogonalised momentum (Muon); continuing uses it too.

How much it gains over AdamW at this size has not been measured; both exist. torch.optim.Muon
iterates in bfloat16, which a CPU without bfloat16 units emulates some 20 times slower than float32.
"""
import torch

BFLOAT16_UNITS = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()  # of this CPU


def orthogonalise(g):
    """Five Newton-Schulz steps towards the nearest matrix whose singular values are all 1."""
    tall = g.shape[0] > g.shape[1]
    x = g.T if tall else g
    x = x / (x.norm() + 1e-7)
    if g.is_cuda or BFLOAT16_UNITS:
        x = x.bfloat16()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (2.0315 * square @ square - 4.775 * square) @ x
    return (x.T if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    """For matrices only. Updates have Adam's typical size, so that both share one learning rate."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.1):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                self.update(p, **{k: group[k] for k in ("lr", "momentum", "weight_decay")})

    def update(self, p, lr, momentum, weight_decay):
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        average = state["momentum"].lerp_(p.grad, 1 - momentum)
        direction = orthogonalise(p.grad.lerp(average, momentum))
        p.mul_(1 - lr * weight_decay)
        p.add_(direction, alpha=-0.2 * lr * max(p.shape) ** 0.5)


def optimizers(model, kind, lr):
    """Muon or AdamW for the matrices; embedding and norms always get Adam without decay."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "token_embd" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "token_embd" in n]
    adam = {"lr": lr, "betas": (0.9, 0.98), "eps": 1e-9}
    if kind == "muon":
        return [Muon(matrices, lr), torch.optim.AdamW(rest, weight_decay=0.0, **adam)]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return [torch.optim.AdamW(groups, **adam)]
