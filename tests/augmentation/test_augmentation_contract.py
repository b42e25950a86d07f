"""What all transformations have in common: derivatives, columns, independence of the batch, compiled functions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from gan_ops.augmentation import ADA, AUGMENTATIONS, DiffAugment, Pipe, Transformation

EACH = {t.name: t for kind in (AUGMENTATIONS["bgcfnc"], DiffAugment()) for t in kind.pipe().transformations}
CASES = pytest.mark.parametrize("transformation", EACH.values(), ids=EACH)
EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one


def generator(seed: int = 0) -> torch.Generator:
    device = torch.get_default_device()
    return torch.Generator(device).manual_seed(seed)


def on_device(transformation: Transformation | Pipe) -> Transformation | Pipe:
    return transformation.to(torch.get_default_device())


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(*shape, dtype=dtype, generator=generator(1)) * 2 - 1


@CASES
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 1, 5, 6)], ids=["colour", "grey"])
@EVERYWHERE
def test_first_and_second_derivatives_are_exact(transformation, shape) -> None:
    transformation = on_device(transformation)
    x = images(*shape).requires_grad_()
    drawn = transformation.draw(shape, 1.0, generator()).double()
    assert gradcheck(lambda x: transformation(x, drawn), (x,), nondet_tol=0)
    # Transformations are affine in the image: of a square of their result, the second derivative is none of zeros.
    assert gradgradcheck(lambda x: transformation(x, drawn).square(), (x,), nondet_tol=0)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@EVERYWHERE
def test_with_probability_0_images_stay_as_they_are(name) -> None:
    pipe = on_device(AUGMENTATIONS[name].pipe())
    for x in (images(4, 3, 16, 16, dtype=torch.float32), images(4, 1, 8, 8, dtype=torch.float32)):
        torch.testing.assert_close(pipe(x, pipe.draw(x.shape, 0.0, generator())), x, rtol=0, atol=1e-5)


@CASES
@EVERYWHERE
def test_with_probability_1_most_images_change(transformation) -> None:
    transformation = on_device(transformation)
    x = images(64, 3, 8, 8)
    changed = transformation(x, transformation.draw(x.shape, 1.0, generator()))
    assert ((changed - x).abs().amax((1, 2, 3)) > 1e-3).sum() > 48


@CASES
@EVERYWHERE
def test_as_many_random_numbers_are_drawn_whatever_the_probability(transformation) -> None:
    states = []
    for p in (0.0, 0.5, torch.tensor(1.0)):
        random = generator()
        transformation.draw((5, 3, 8, 8), p, random)
        states.append(random.get_state())
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])


@CASES
@EVERYWHERE
def test_a_probability_on_the_device_draws_the_same(transformation) -> None:
    drawn = [transformation.draw((50, 3, 8, 8), p, generator()) for p in (0.5, torch.tensor(0.5))]
    assert torch.equal(*drawn)


@CASES
def test_a_share_is_multiplied_by_the_probability(transformation) -> None:
    half = type(transformation)(0.5)
    drawn = [t.draw((50, 3, 8, 8), p, generator()) for t, p in ((half, 0.6), (transformation, 0.3))]
    assert torch.equal(*drawn)


@CASES
@EVERYWHERE
def test_an_image_changes_by_its_own_row_alone(transformation) -> None:
    transformation = on_device(transformation)
    x = images(6, 3, 8, 8)
    drawn = transformation.draw(x.shape, 0.8, generator())
    parts = [transformation(x[i : i + 2], drawn[i : i + 2]) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.cat(parts), transformation(x, drawn), rtol=0, atol=1e-13)


@CASES
@EVERYWHERE
def test_the_memory_layout_stays_and_does_not_matter(transformation) -> None:
    transformation = on_device(transformation)
    x = images(2, 3, 8, 8)
    drawn = transformation.draw(x.shape, 1.0, generator())
    result = transformation(x.contiguous(memory_format=torch.channels_last), drawn)
    torch.testing.assert_close(result, transformation(x, drawn), rtol=0, atol=1e-13)


@CASES
def test_compiled_functions_compute_the_same_with_their_gradients(transformation) -> None:
    torch.compiler.reset()
    x = images(3, 3, 8, 8, dtype=torch.float32)
    drawn = transformation.draw(x.shape, 1.0, generator())

    def penalty(x: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = torch.autograd.grad(transformation(x, drawn).pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), x)[0], gradient.detach()

    with torch._dynamo.config.patch(trace_autograd_ops=True):
        compiled = torch.compile(penalty, fullgraph=True, dynamic=False, backend="aot_eager")
        results = compiled(x.requires_grad_(), drawn)
    for ours, theirs in zip(results, penalty(x, drawn), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_pipe_has_the_categories_that_its_name_says() -> None:
    names = {name: [t.name for t in kind.pipe().transformations] for name, kind in AUGMENTATIONS.items()}
    ada = ["blit", "geometry", "color", "filter", "additive noise", "cutout"]
    for length, name in ((2, "bg"), (3, "bgc"), (4, "bgcf"), (5, "bgcfn"), (6, "bgcfnc")):
        assert names[name] == ada[:length]
    for name, category in (("blit", "blit"), ("geom", "geometry"), ("filter", "filter"), ("cutout", "cutout")):
        assert names[name] == [category]
    assert names["diffaugment"] == ["diffcolor", "translation", "diffcutout"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blit": 1.5}, "blit=1.5 is not from 0 to 1"),
        ({"color": -0.1}, "color=-0.1 is not"),
        ({"blit": 0, "geom": 0, "color": 0}, "no category is left"),
    ],
)
def test_shares_that_are_none_are_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        ADA(**options)


def test_a_pipe_keeps_no_state() -> None:
    assert AUGMENTATIONS["bgcfnc"].pipe().state_dict() == {}
