"""uint8 pixels and the network's [-1, 1]."""

import pytest
import torch

from train.data import to_float, to_uint8

EVERY_VALUE = torch.arange(256, dtype=torch.uint8)


def test_range_is_minus_one_to_one():
    assert to_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


def test_every_value_survives_the_round_trip():
    assert torch.equal(to_uint8(to_float(EVERY_VALUE)), EVERY_VALUE)


def test_float64_survives_too():
    assert torch.equal(to_uint8(to_float(EVERY_VALUE).double()), EVERY_VALUE)


def test_values_beyond_the_range_are_clamped():
    assert to_uint8(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]


def test_bfloat16_is_rounded_in_float32():
    value = torch.tensor([0.5], dtype=torch.bfloat16)
    assert to_uint8(value).item() == round(0.5 * 127.5 + 127.5)


def test_wrong_types_are_named():
    with pytest.raises(TypeError, match="float32"):
        to_float(torch.zeros(1))
    with pytest.raises(TypeError, match="uint8"):
        to_uint8(EVERY_VALUE)
