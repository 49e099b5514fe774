"""A small byte-level decoder-only transformer: pre-norm, rotary positions, untied head."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

VOCABULARY = 256
LAYERS = 3
HEAD_DIM = 16


class Block(nn.Module):
    """Attention and a four-fold perceptron, each behind a normalisation and added to the residual stream."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_DIM
        self.attention_norm = nn.RMSNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.perceptron_norm = nn.RMSNorm(width)
        self.expand = nn.Linear(width, 4 * width, bias=False)
        self.contract = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        """Return the residual stream (batch, position, width) after attention and perceptron."""
        batch, length, width = x.shape
        qkv = self.query_key_value(self.attention_norm(x)).view(batch, length, 3, self.heads, HEAD_DIM)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query, key = (rotate(z, cosine, sine) for z in (query, key))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.contract(functional.gelu(self.expand(self.perceptron_norm(x)), approximate="tanh"))


def rotate(z: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding of (..., position, HEAD_DIM)."""
    first, second = z.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)


class Transformer(nn.Module):
    """Logits (batch, position, 256) of the next byte for bytes (batch, position)."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(LAYERS))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        frequency = 10_000.0 ** (-torch.arange(HEAD_DIM // 2) / (HEAD_DIM // 2))
        angle = torch.outer(torch.arange(context), frequency)
        self.register_buffer("cosine", angle.cos(), persistent=False)
        self.register_buffer("sine", angle.sin(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2 and "embedding" not in name:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
        # Zero outputs at the start make every size begin at the loss of a uniform guess, log 256.
        nn.init.zeros_(self.head.weight)
        for block in self.blocks:
            nn.init.zeros_(block.attention_out.weight)
            nn.init.zeros_(block.contract.weight)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cosine, self.sine)
        return self.head(self.norm(x))

    def non_embedding(self) -> int:
        """Parameters of the blocks and norms: those whose number sets the FLOPs of all but the first and last layer."""
        return sum(p.numel() for name, p in self.named_parameters() if not name.startswith(("embedding", "head")))
