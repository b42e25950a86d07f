"""The command line: presets, overrides, and errors of one line with exit code 2."""

import ast
import dataclasses
import inspect
import json
from itertools import pairwise
from pathlib import Path

import pytest

from train import pggan
from train.base.errors import UsageError, run_program
from train.pggan import PRESETS, PgganConfig
from train.run.options import RunOptions, from_dict, parse_command_line, to_dict

from .fuzzing import options_of, programs
from .runs import error_of


def parse(*args: str):
    return parse_command_line(PRESETS, args, prog="prog", description="Trains.")


def fails(capsys, *args: str) -> str:
    """The one line on stderr of a start that must exit with 2."""
    return error_of(pggan.main, args, capsys)


def test_the_default_is_the_glyphs_preset():
    assert parse() == (PRESETS["glyphs"], RunOptions())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_the_defaults_and_options_replace_them(name):
    for args in ([f"--preset={name}", "--kimg", "7"], ["--kimg", "7", "--preset", name]):
        config, _ = parse(*args)
        assert config == dataclasses.replace(PRESETS[name], kimg=7.0)
    assert PRESETS[name].preset == name


def test_config_json_gives_the_options_back():
    config = dataclasses.replace(PRESETS["cifar10"], data_root=Path("a/b"))
    assert from_dict(PgganConfig, json.loads(json.dumps(to_dict(config))), "config.json") == config


def test_an_unknown_option_in_config_json_is_named():
    with pytest.raises(UsageError, match=r"config.json: unknown option 'colour'"):
        from_dict(PgganConfig, {"colour": 1}, "config.json")


def test_help_explains_every_option_and_shows_the_presets_values(capsys):
    with pytest.raises(SystemExit) as stop:
        pggan.main(["--preset", "cifar10", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert stop.value.code == 0
    for field in [*dataclasses.fields(PgganConfig), *dataclasses.fields(RunOptions)]:
        assert f"--{field.name.replace('_', '-')} " in text.replace(",", " ")
    assert "wgan-gp(target=750)" in text


def test_every_option_has_a_help_text_in_its_class_on_one_line():  # --help would break it where the source does
    for program in programs():
        for name, (kind, annotated) in options_of(program).items():
            text = _documentation(kind).get(name) or _help_of(annotated)
            assert text.endswith((".", ".)", "…")) and "\n" not in text, (program, name)


def _documentation(kind: type) -> dict[str, str]:
    """The strings below a class's fields, by field."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(kind)).body)
    return {
        field.target.id: text.value.value
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def _help_of(annotated) -> str:
    """What an option's type says of it."""
    return "".join(getattr(part, "help", None) or "" for part in getattr(annotated, "__metadata__", ()))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--resoltion", "8"], "unknown option --resoltion (did you mean --resolution?)"),
        (["--kimgs=8"], "unknown option --kimgs=8 (did you mean --kimg?)"),
        (["--preset", "mnist"], "unknown preset 'mnist': there are glyphs, celebahq-1024"),
        (["--precision", "int8"], "'int8'"),
        (["--kimg", "many"], "--kimg"),
        (["--resolution", "48"], "resolution=48 is not a power of two"),
        (["--batch", "6"], "group_size=4 does not divide the batch of 6 at 4x4"),
        (["--batch", "16", "--microbatch", "3"], "microbatch=3 does not divide the batch of 16"),
        (["--microbatch", "6", "--batch", "12"], "group_size=4 does not divide the microbatch of 6"),
        (["--grid", "8"], "grid: '8' is not ROWSxCOLUMNS"),
        (["--keep", "0"], "keep=0"),
        (["--latent", "0"], "latent=0 is less than 1"),
        (["--fmap-max", "0"], "fmap_max=0 is less than 1"),
        (["--group-size", "-1"], "group_size=-1 is less than 0"),
        (
            ["--condition", "cgan", "--feature-matching", "4"],
            "feature_matching=4 cannot be combined with condition='cgan'",
        ),
        (["--log-kimg", "x"], "log_kimg: 'x'"),
        (["--loss", "wgan-gp(target=-1)"], "target=-1"),
        (["--loss", "wgan-gp(traget=1)"], "wgan-gp has no 'traget', only weight, target, drift"),
        (["--loss", "wgan-pg"], "did you mean wgan-gp?"),
        (["--penalty", "r1(gamma=many)"], "gamma='many' is not a number"),
        (["--loss", "wgan"], "loss='wgan' clips D's parameters"),
        (["--device", "tpu"], "device='tpu'"),
        (["--device", "cpu", "--cuda-graphs", "on"], "cuda_graphs='on' needs a GPU, and the device is cpu"),
        (["--cuda-graphs", "maybe"], "'maybe'"),
        (["--device", "cuda:99"], "device='cuda:99'"),
        (["--resume", "nowhere"], "--resume nowhere does not exist"),
        (["--resume", "x", "--preset", "glyphs"], "--preset cannot be given with --resume"),
        (["--resume", "x", "--out", "y"], "--out cannot be given with --resume"),
        (["--data", "nowhere"], "nowhere"),
        (["--data", "cifar10", "--data-root", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_option_is_one_line_and_nothing_is_written(capsys, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, *args)
    assert list(tmp_path.iterdir()) == []


def test_labels_are_needed_for_conditioning(capsys, tmp_path, tiny_options):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    args = tiny_options(data=str(tmp_path), condition="acgan", out=str(tmp_path / "run"))
    assert "condition='acgan' needs labels" in fails(capsys, *args)


def test_dry_run_prints_options_and_schedule_and_stops(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pggan.main(["--preset", "celebahq-1024", "--dry-run", "--seed", "5"]) == 0
    printed = capsys.readouterr().out
    options, end = json.JSONDecoder().raw_decode(printed)
    assert options["seed"] == 5 and options["kimg"] == 12000
    last = printed[end:].strip().splitlines()[-1].split()
    assert last == ["16", "1024x1024", "stabilise", "9600", "12000", "4", "4", "0.0015"]
    assert list(tmp_path.iterdir()) == []


def test_a_bug_keeps_its_traceback():
    def bug() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_program(bug)
