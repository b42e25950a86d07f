"""Results do not depend on whether the CPU's kernels pass the caches by, as they do with tensors larger than those."""

from __future__ import annotations

import pytest
import torch

RESULTS = """
import sys
import torch
import gan_ops

results = []
for op, shape, parameters in (
    (gan_ops.pixel_norm, (3, 37, 5, 13), []),
    (gan_ops.pixel_norm, (2, 520, 3, 3), []),  # more channels than a row of outputs holds
    (gan_ops.pixel_norm, (5, 24, 4, 4), []),
    (gan_ops.pixel_norm, (2, 24, 40, 64), []),  # several tiles of a plane
    (gan_ops.bias_act_pixel_norm, (3, 37, 5, 13), [37]),
    (gan_ops.bias_act_pixel_norm, (2, 24, 40, 64), [24]),
):
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        for layout in (torch.contiguous_format, torch.channels_last):
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(shape, generator=generator).to(dtype).contiguous(memory_format=layout)
            inputs = [x, *(torch.randn(n, generator=generator).to(dtype) for n in parameters)]
            for t in inputs:
                t.requires_grad_()
            y = op(*inputs)
            first = torch.autograd.grad(y, inputs, y.detach().cos(), create_graph=True)
            second = torch.autograd.grad(first, inputs, [t.detach().sin() for t in first])
            results += [t.detach() for t in (y, *first, *second)]
torch.save(results, sys.argv[1])
"""


def test_streaming_stores_change_no_bit(run_python, tmp_path) -> None:
    found = {}
    for megabytes in (0, 1000):
        path = tmp_path / f"{megabytes}.pt"
        result = run_python("-c", RESULTS, path, GAN_OPS_CACHE=megabytes)
        assert result.returncode == 0, result.stderr
        found[megabytes] = torch.load(path)
    for streamed, stored in zip(found[0], found[1000], strict=True):
        assert torch.equal(streamed, stored)


@pytest.mark.parametrize("wanted", ["much", "-1", "3.5", "99999999999999999999"])
def test_a_cache_that_is_no_size_is_refused(run_python, wanted) -> None:
    result = run_python("-c", "import torch, gan_ops; gan_ops.pixel_norm(torch.ones(2, 3))", GAN_OPS_CACHE=wanted)
    assert f"ValueError: GAN_OPS_CACHE must be a number of megabytes, but is {wanted}" in result.stderr
