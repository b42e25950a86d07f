"""The networks of Improved Techniques: sizes, weight normalisation, noise, minibatch discrimination."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from gan_ops import nn as gnn
from models.semi_supervised import ConvClassifier, ConvGenerator, DenseClassifier, DenseGenerator, GaussianNoise

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def trained(network: nn.Module) -> int:
    """Parameters that training changes."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def small(**options) -> DenseClassifier:
    return DenseClassifier(8, 3, hidden=(6, 5), **options).double()


def images(n: int = 12) -> torch.Tensor:
    return torch.rand(n, 2, 2, 2, dtype=torch.float64)


def test_mnist_classifier_has_the_papers_layers():
    widths = [784, 1000, 500, 250, 250, 250, 10]
    weights = sum(a * b for a, b in itertools.pairwise(widths))
    classifier = DenseClassifier(784, 10)
    assert trained(classifier) == weights + sum(widths[1:]) + 10  # biases, and the scales of the last layer alone
    scores = classifier(torch.rand(4, *MNIST))
    assert [m.shape for m in scores.maps] == [(4, 250)] and scores.logits.shape == (4, 10)
    torch.testing.assert_close(scores.score, scores.logits.exp().sum(1).log())


def test_mnist_noise_is_wider_inside():
    noise = [module.deviation for module in DenseClassifier(784, 10).modules() if isinstance(module, GaussianNoise)]
    assert noise == [0.3, 0.5, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("width", [96, 64], ids=["cifar10", "svhn"])
def test_convolutional_classifier_has_nine_convolutions_and_a_dense_layer(width):
    classifier = ConvClassifier(3, 10, width=width)
    wide = 2 * width
    weights = 9 * (3 * width + 2 * width**2 + width * wide + 3 * wide**2) + 2 * wide**2 + 10 * wide
    assert trained(classifier) == weights + 3 * width + 6 * wide + 10 + 10
    assert len([module for module in classifier.modules() if isinstance(module, nn.Conv2d)]) == 9
    assert [module.p for module in classifier.modules() if isinstance(module, nn.Dropout)] == [0.2, 0.5, 0.5]
    scores = classifier(torch.rand(2, *CIFAR))
    assert [m.shape for m in scores.maps] == [(2, wide)] and scores.logits.shape == (2, 10)


def test_mnist_generator_has_the_papers_layers():
    generator = DenseGenerator(MNIST)
    norms = 2 * (500 + 500)
    assert trained(generator) == 100 * 500 + 500 * 500 + 500 * 784 + norms + 2 * 784  # bias and scale of the last
    x = generator(torch.rand(4, 100))
    assert x.shape == (4, *MNIST) and x.min() >= 0 and x.max() <= 1


def test_convolutional_generator_has_the_papers_layers():
    generator = ConvGenerator(32, 3)
    weights = 100 * 512 * 16 + 25 * (512 * 256 + 256 * 128 + 128 * 3)
    assert trained(generator) == weights + 2 * (512 * 16 + 256 + 128) + 2 * 3
    x = generator(torch.rand(2, 100))
    assert x.shape == (2, *CIFAR) and -1 <= x.min() < 0 < x.max() <= 1


@pytest.mark.parametrize("resolution", [4, 24])
def test_generator_refuses_a_resolution_that_doubling_does_not_reach(resolution):
    with pytest.raises(ValueError, match=f"resolution={resolution}"):
        ConvGenerator(resolution, 3)


def test_generator_draws_with_the_statistics_of_its_batch_in_any_mode():
    generator, z = DenseGenerator((1, 4, 4), hidden=(8,)), torch.rand(6, 100)
    torch.testing.assert_close(generator.eval()(z), generator.train()(z))


@pytest.mark.parametrize(
    "classifier", [DenseClassifier(8, 3, hidden=(6, 5)), ConvClassifier(1, 3, width=4)], ids=["dense", "convolutional"]
)
def test_only_the_last_layers_scale_is_learnt(classifier):
    scales = {name: p.requires_grad for name, p in classifier.named_parameters() if name.endswith("weight.original0")}
    assert [name for name, learnt in scales.items() if learnt] == ["head.parametrizations.weight.original0"]
    assert len(scales) > 1


@pytest.mark.parametrize("compare_batch", [False, True])
@pytest.mark.parametrize("convolutional", [False, True])
def test_fitted_layers_give_mean_0_and_variance_1(convolutional, compare_batch):
    if convolutional:
        classifier = ConvClassifier(1, 3, width=4, compare_batch=compare_batch).double().eval()
        x = 2 * torch.rand(20, 1, 16, 16, dtype=torch.float64) - 1
    else:
        classifier, x = small(compare_batch=compare_batch).eval(), images(20)
    classifier.fit_scale(x)
    outputs = []
    for layer in classifier.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            layer.register_forward_hook(lambda layer, inputs, output: outputs.append(output))
    classifier(x)
    for output in outputs:
        axes = [0, *range(2, output.dim())]
        torch.testing.assert_close(output.mean(axes), torch.zeros(output.shape[1], dtype=torch.float64))
        torch.testing.assert_close(output.std(axes, correction=0), torch.ones(output.shape[1], dtype=torch.float64))


def test_fitting_needs_two_images():
    with pytest.raises(ValueError, match="has 1"):
        small().fit_scale(images(1))


def test_noise_is_for_training():
    classifier, x = small(), images()
    assert not torch.equal(classifier(x).logits, classifier(x).logits)
    classifier.eval()
    assert torch.equal(classifier(x).logits, classifier(x).logits)


def test_without_minibatch_discrimination_an_image_is_judged_alone():
    classifier, x = small().eval(), images()
    assert not classifier.sees_batch
    torch.testing.assert_close(classifier(x[:4]).logits, classifier(x).logits[:4])


def test_minibatch_discrimination_sees_the_batch_and_leaves_the_matched_features_alone():
    classifier, x = small(compare_batch=True).eval(), images()
    assert isinstance(classifier.compare, gnn.MinibatchDiscrimination) and classifier.sees_batch
    part, whole = classifier(x[:4]), classifier(x)
    assert (part.logits - whole.logits[:4]).abs().max() > 1e-3
    torch.testing.assert_close(part.maps[0], whole.maps[0][:4])


def test_interleaved_minibatches_are_compared_each_within_itself():
    classifier, x = small(compare_batch=True).eval(), images(12)
    apart = torch.stack([classifier(x[i::3]).logits for i in range(3)], 1).flatten(0, 1)
    torch.testing.assert_close(classifier(x, batches=3).logits, apart)
