"""The architecture must stay exactly Llama's, or the engine and llama.cpp could not load the file.

Parameters carry their GGUF tensor names (`blk.0.attn_q.weight`), so a checkpoint maps to a file one
to one. Only the order of the q and k rows differs: here RoPE turns the two halves of a head, there
it turns neighbours (gguf_file.py).
"""
from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass(frozen=True)
class Config:
    vocab: int = 2048
    dim: int = 256
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 704
    context: int = 2048
    head_dim: int = 64
    theta: float = 10000.0
    eps: float = 1e-5

    def to_dict(self):
        return asdict(self)


def rope_tables(length, head_dim, theta, device=None):
    """(cos, sin), each [length, head_dim / 2]. Float32 angles lose bits at large positions."""
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    return angle.cos().float().to(device), angle.sin().float().to(device)


def rotate(x, cos, sin):
    """x: [batch, heads, tokens, head_dim]; the first half pairs with the second."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class Block(nn.Module):
    """One pre-norm layer: grouped-query attention, then SwiGLU."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.attn_norm = nn.RMSNorm(c.dim, c.eps)
        self.attn_q = nn.Linear(c.dim, c.heads * c.head_dim, bias=False)
        self.attn_k = nn.Linear(c.dim, c.kv_heads * c.head_dim, bias=False)
        self.attn_v = nn.Linear(c.dim, c.kv_heads * c.head_dim, bias=False)
        self.attn_output = nn.Linear(c.heads * c.head_dim, c.dim, bias=False)
        self.ffn_norm = nn.RMSNorm(c.dim, c.eps)
        self.ffn_gate = nn.Linear(c.dim, c.ffn, bias=False)
        self.ffn_up = nn.Linear(c.dim, c.ffn, bias=False)
        self.ffn_down = nn.Linear(c.ffn, c.dim, bias=False)

    def attention(self, x, cos, sin):
        c, (batch, tokens, _) = self.c, x.shape

        def split(y, heads):
            return y.view(batch, tokens, heads, c.head_dim).transpose(1, 2)
        q = rotate(split(self.attn_q(x), c.heads), cos, sin)
        k = rotate(split(self.attn_k(x), c.kv_heads), cos, sin)
        v = split(self.attn_v(x), c.kv_heads)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.attn_output(y.transpose(1, 2).reshape(batch, tokens, -1))

    def forward(self, x, cos, sin):
        x = x + self.attention(self.attn_norm(x), cos, sin)
        y = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(y)) * self.ffn_up(y))


class Model(nn.Module):
    """Decoder with tied embeddings."""

    def __init__(self, config):
        super().__init__()
        self.config = c = config
        self.token_embd = nn.Embedding(c.vocab, c.dim)
        self.blk = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.output_norm = nn.RMSNorm(c.dim, c.eps)
        for name, table in zip(("cos", "sin"), rope_tables(c.context, c.head_dim, c.theta)):
            self.register_buffer(name, table, persistent=False)
        self.initialise()

    @torch.no_grad()
    def initialise(self):
        """Unit-gain matrices; what writes to the residual stream is damped by depth."""
        self.token_embd.weight.normal_(std=0.02)
        for name, p in self.named_parameters():
            if p.ndim == 2 and "token_embd" not in name:
                writes = "output" in name or "down" in name
                p.normal_(std=(p.shape[1] * (2 * self.config.layers if writes else 1)) ** -0.5)

    def hidden(self, tokens):
        """Normed hidden states; tokens: [batch, length] with length <= context."""
        x = self.token_embd(tokens)
        cos, sin = self.cos[:tokens.shape[1]], self.sin[:tokens.shape[1]]
        for block in self.blk:
            x = block(x, cos, sin)
        return self.output_norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.token_embd.weight)

    def losses(self, tokens, targets):
        """Cross entropy of every position, in nats and float32."""
        z = self.logits(self.hidden(tokens)).flatten(0, 1).float()
        return F.cross_entropy(z, targets.flatten(), reduction="none").view(targets.shape)
