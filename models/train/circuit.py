"""Looking back takes a small model most of its training to discover; it may start with the parts.

Two layers make an induction head (Olsson et al. 2022, arXiv 2209.11895): layer 0 notes beside every
token which one came before it, layer 1 looks for where the present token was noted, and says what
stands there. Everything else starts as usual, and all of it is trained.

All embeddings share one constant, which the tied output cannot see. A query and a key made of it
alone differ by RoPE only, so that a head whose query is turned by n positions looks n tokens back.
"""
import torch

TOKEN = 160             # dimensions of the residual stream for the token; the notes come after them
SPREAD = 0.127          # of the embedding in each of these
SHARP = 0.83            # of the query and key that look back
NOTE, ANSWER = 0.15, 0.25   # gains of what layers 0 and 1 write
MATCH = 2.0             # of the query and key that compare a token with the notes
SLOW = 12               # RoPE pairs of the lowest frequencies, where positions hardly matter


@torch.no_grad()
def build_in(model):
    """model: Model of at least 256 dimensions, 2 layers, head_dim 64, 2 or more q_heads."""
    c, size = model.config, model.config.head_dim
    if c.dim < TOKEN + size + size // 2 or c.layers < 2 or size != 64 or c.heads < 2:
        raise SystemExit("--circuit needs dim >= 256, 2 layers and heads of 64")
    embedding = model.token_embd.weight
    embedding.zero_()
    embedding[:, 0] = 1
    embedding[:, 1:TOKEN].normal_(std=SPREAD)
    for block in model.blk:
        block.attn_output.weight.mul_(0.1)
        block.ffn_down.weight.mul_(0.1)
    model.output_norm.weight.fill_(0.3)
    views = torch.linalg.qr(torch.randn(TOKEN - 1, TOKEN - 1))[0].T[:2 * size].view(2, size, -1)
    look_back(model.blk[0], c, views[0])
    look_up(model.blk[1], c, views)


def look_back(block, c, view):
    """Head h looks h + 1 tokens back; two write a view [64, TOKEN - 1] of what they find."""
    size, half = c.head_dim, c.head_dim // 2
    frequency = c.theta ** (-torch.arange(0, size, 2) / size)
    for h in range(c.heads):
        q = block.attn_q.weight[h * size:(h + 1) * size].mul_(0.1)
        q[:half, 0] = SHARP * torch.cos((h + 1) * frequency)
        q[half:, 0] = -SHARP * torch.sin((h + 1) * frequency)
    for h in range(c.kv_heads):
        k = block.attn_k.weight[h * size:(h + 1) * size].mul_(0.1)
        k[:half, 0], k[half:, 0] = SHARP, 0
    block.attn_v.weight[:size] = 0
    block.attn_v.weight[:size, 1:TOKEN] = view
    out = block.attn_output.weight
    out[:, :2 * size] = 0
    out[TOKEN:TOKEN + size, :size] = NOTE * torch.eye(size)
    out[TOKEN + size:TOKEN + size + half, size:size + half] = NOTE * torch.eye(half)


def look_up(block, c, views):
    """One head of each group compares the token with the notes, and writes the token it finds."""
    size, group = c.head_dim, c.heads // c.kv_heads
    slow = [d for d in range(size) if d % (size // 2) >= size // 2 - SLOW]
    for h in range(c.kv_heads):
        own, head = slice(h * size, (h + 1) * size), slice(h * group * size, (h * group + 1) * size)
        q, k = block.attn_q.weight[head].mul_(0.1), block.attn_k.weight[own].mul_(0.1)
        for i, d in enumerate(slow):
            note = (i + len(slow) * h) % size
            q[d], k[d] = 0, 0
            q[d, 1:TOKEN] = MATCH * views[0][note]
            k[d, TOKEN + note] = MATCH
        view = views[h % len(views)]
        block.attn_v.weight[own] = 0
        block.attn_v.weight[own, 1:TOKEN] = view
        block.attn_output.weight[:, head] = 0
        block.attn_output.weight[1:TOKEN, head] = ANSWER * view.T
