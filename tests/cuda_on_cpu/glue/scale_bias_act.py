from __future__ import annotations

from functools import partial

import torch
from emulated import Outputs, Run, like, widened
from families import EPILOGUES, Epilogue
from torch import Tensor

from gan_ops._activations import ACTS, activation_options

Named = dict[str, Tensor]


def scale_bias_act(
    epilogue: Epilogue, run: Run, inputs: tuple[Tensor, ...], g: Tensor, v: tuple[Tensor, ...]
) -> Outputs:
    named, cotangents = (dict(zip(epilogue.inputs, map(widened, t), strict=True)) for t in (inputs, v))
    x, v_x = inputs[0], v[0]
    of, to = _noise_scaled(named), _noise_tangent(named, cotangents)
    outer, channels, inner = run.layout(x)
    of_each = "noise" in of and len(of["noise"]) == len(x)
    alpha, gain, clamp = activation_options(epilogue.act, None, epilogue.gain, epilogue.clamp)
    options = (len(x), channels, outer * inner // len(x), inner == 1, of_each)
    options = (*map(int, options), ACTS.index(epilogue.act), alpha, gain, -1.0 if clamp is None else clamp)

    beside, moved = ([t.get(name) for name in ("scale", "bias", "noise")] for t in (of, to))
    sums = [None if t is None else like(t) for t in beside]
    (y,) = run("scale_bias_act", x, *beside, like(x), *options)
    first = run("scale_bias_act_backward", g, x, *beside, like(x), *sums, *options)
    (d_x_alone,) = run("scale_bias_act_backward", g, x, *beside, like(x), *[None] * 3, *options)
    assert d_x_alone.equal(first[0]), "d_x depends on what else is asked for"
    cotangents_of_all = [v_x, *moved, g, x, *beside]
    second = run("scale_bias_act_double_backward", *cotangents_of_all, like(g), like(x), *sums, *options)
    if v_x.numel() < 200:  # a tensor's size has no say in this, and runs take long
        without_v, of_zeros = (
            run("scale_bias_act_double_backward", u, *cotangents_of_all[1:], like(g), like(x), *sums, *options)
            for u in (None, torch.zeros_like(v_x))
        )
        pairs = zip(without_v, of_zeros, strict=True)
        assert all(a.equal(b) for a, b in pairs), "an absent cotangent is not a cotangent of zeros"

    present = [name for name in ("scale", "bias", "noise") if name in of]
    d_g, d_x2, *of_sums2 = second
    first, second = (
        dict(zip(present, first[1:], strict=True)) | {"x": first[0]},
        dict(zip(present, of_sums2, strict=True)),
    )
    first, second = _noise_gradients(named, cotangents, first, second | {"x": d_x2})
    types = dict(zip(epilogue.inputs, (t.dtype for t in inputs), strict=True))
    results = [derivative[name].to(types[name]) for derivative in (first, second) for name in epilogue.inputs]
    return [y, *results[: len(inputs)], d_g, *results[len(inputs) :]]


# What gan_ops.ops.scale_bias_act does outside the kernels, and its derivatives: noise·strength is their noise.


def _noise_scaled(named: Named) -> Named:
    if "strength" not in named:
        return named
    return named | {"noise": named["noise"] * named["strength"]}


def _noise_tangent(named: Named, moved: Named) -> Named:
    if "strength" not in named:
        return moved
    return moved | {"noise": moved["noise"] * named["strength"] + named["noise"] * moved["strength"]}


def _noise_gradients(named: Named, moved: Named, first: Named, second: Named) -> tuple[Named, Named]:
    if "strength" not in named:
        return first, second
    of_noise, of_noise2 = first["noise"], second["noise"]
    first = first | {"noise": of_noise * named["strength"], "strength": (of_noise * named["noise"]).sum()}
    return first, second | {
        "noise": of_noise2 * named["strength"] + of_noise * moved["strength"],
        "strength": (of_noise2 * named["noise"] + of_noise * moved["noise"]).sum(),
    }


RUNS = {str(epilogue): partial(scale_bias_act, epilogue) for epilogue in EPILOGUES}
