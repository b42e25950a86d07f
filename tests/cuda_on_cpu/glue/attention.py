from __future__ import annotations

import math
from functools import partial

import torch
from emulated import Outputs, Run, like, widened
from families import ATTENTION, Attention
from torch import Tensor


def attention(row: Attention, run: Run, inputs: tuple[Tensor, ...], g: Tensor, v: tuple[Tensor, ...]) -> Outputs:
    """As csrc/attention.cpp has it, in two blocks of rows of all matrices."""
    q, k, value, *bias = map(widened, inputs)
    v_q, v_k, v_v, *v_bias = map(widened, v)
    g = widened(g)
    matrices, rows, columns = len(q), q.shape[1], k.shape[1]
    scale = 1 / math.sqrt(q.shape[2]) if row.scale is None else row.scale
    of_bias = [1] * (3 - bias[0].dim()) + list(bias[0].shape) if bias else [1, 1, 1]
    strides = [of_bias[1] * of_bias[2] * (of_bias[0] > 1), of_bias[2] * (of_bias[1] > 1), int(columns == of_bias[2])]

    out, d_g, d_q, second_q = (torch.empty_like(t) for t in (g, g, q, q))
    d_k, second_k, d_v, second_v = (torch.zeros_like(t) for t in (k, k, value, value))
    d_s, t = (q.new_empty(matrices, rows, columns) for _ in range(2))
    for first, last in ((0, rows // 2), (rows // 2, rows)):
        if first == last:
            continue
        # The matrices are several groups of one, or one group.
        groups = (matrices, 1) if first else (1, matrices)
        of_groups = (strides[0], 0) if first else (0, strides[0])
        options = [first * strides[1], *of_groups, *strides[1:]]
        options += [*groups, last - first, columns, first, rows, row.is_causal]
        part = slice(first, last)
        scores, a = scale * q[:, part] @ k.mT, g[:, part] @ value.mT
        w, u = scale * (v_q[:, part] @ k.mT + q[:, part] @ v_k.mT), g[:, part] @ v_v.mT
        given, given_v = (bias or [None])[0], (v_bias or [None])[0]

        p, log_sum = run("attention", scores, like(scores), like(q[..., 0]), given, *options)
        out[:, part] = p @ value
        p, d_s[:, part] = run("attention_backward", scores, a, log_sum, like(scores), like(a), given, *options)
        d_q[:, part] = scale * d_s[:, part] @ k
        d_k += scale * d_s[:, part].mT @ q[:, part]
        d_v += p.mT @ g[:, part]
        outputs = [like(each) for each in (scores, a, w, u)]
        p, again, x, t[:, part] = run(
            "attention_double_backward", scores, a, w, u, log_sum, *outputs, given, given_v, *options
        )
        d_g[:, part] = x @ value + p @ v_v
        second_q[:, part] = scale * (t[:, part] @ k + again @ v_k)
        second_k += scale * (t[:, part].mT @ q[:, part] + again.mT @ v_q[:, part])
        second_v += x.mT @ g[:, part]
    first_order = [d_q, d_k, d_v, *(d_s.sum_to_size(b.shape) for b in bias)]
    second_order = [d_g, second_q, second_k, second_v, *(t.sum_to_size(b.shape) for b in bias)]
    return [result.to(inputs[0].dtype) for result in (out, *first_order, *second_order)]


RUNS = {row.name: partial(attention, row) for row in ATTENTION}
