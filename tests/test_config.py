import pytest
import yaml

from sar_keras.config import Config, keys, load_config, presets
from sar_keras.errors import ConfigError


@pytest.mark.parametrize("name", presets())
def test_every_preset_loads_and_survives_saving(name, tmp_path):
    config = load_config(name, ["train.epochs=7"])
    config.save(tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert config.train.epochs == 7


def test_default_preset_lists_every_key_with_the_values_of_the_code():
    assert keys(load_config("default")) == keys(Config())
    of_pix2pix = set(keys(Config()))
    for name, listed in {"default": of_pix2pix, "epcgan": None, "cyclegan": None}.items():
        text = (presets_folder() / f"{name}.yaml").read_text()
        # The others list what only their system has.
        for key in listed or keys(load_config(name)).keys() - of_pix2pix:
            assert f"{key.rpartition('.')[2]}:" in text


def presets_folder():
    from sar_keras import config

    return config._PRESETS


def test_paper_has_the_betas_of_the_documents():
    paper = load_config("paper")
    assert paper.optimizer.generator.config == {"learning_rate": 2e-4, "beta_1": 0.005, "beta_2": 0.99}
    assert (paper.loss.l1, paper.loss.perceptual, paper.model.view) == (100, 0.01, "luma")


def test_override_keeps_its_neighbours_and_reads_exponents():
    config = load_config("quick", ["optimizer.generator.config.learning_rate=1e-4"])
    assert config.optimizer.generator.config == {"learning_rate": 1e-4, "beta_1": 0.5, "beta_2": 0.999}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=2", "did you mean train.epochs"),
        ("epochs=2", "did you mean train.epochs"),
        ("loss.perceptal=2", "did you mean loss.perceptual"),
        ("train.epochs=two", "train.epochs.*'two'"),
        ("train.epochs=0", "train.epochs"),
        ("train.epochs=2.5", "train.epochs"),
        ("model.view=lab", "model.view.*'lab'"),
        ("data.image_size=100", "data.image_size"),
        ("train.batch_size", "KEY=VALUE"),
        ("train.seed.x=1", "train.seed.x=1: seed is a value"),
        ("loss.l1=.nan", "loss.l1"),
        ("data.split=2020-13-45", "not YAML"),
    ],
)
def test_bad_overrides_name_the_key(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config("quick", [override])


def test_an_objective_without_terms_is_refused():
    with pytest.raises(ConfigError, match=r"loss.*above 0"):
        load_config("quick", ["loss.l1=0", "loss.perceptual=0", "loss.adversarial=0"])


@pytest.mark.parametrize(("text", "value"), [("2e-4", 2e-4), ("1.5e4", 1.5e4), (".5e-1", 0.05), ("-1E3", -1000.0)])
def test_exponents_are_numbers(text, value):
    config = load_config("quick", [f"optimizer.generator.config={{x: {text}}}"])
    assert config.optimizer.generator.config == {"x": value}


@pytest.mark.parametrize("text", ["- 1", "train: [", "train: {epoch: 3}", "train: 3"])
def test_bad_files_name_the_file(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        load_config(tmp_path / "mine.yaml")


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean paper"):
        load_config("papr")


@pytest.mark.parametrize(
    ("preset", "key"),
    [
        ("cyclegan", "model.scales"),
        ("cyclegan", "loss.warm_up"),
        ("cyclegan", "loss.l1"),
        ("pix2pix", "loss.cycle"),
        ("pix2pix", "model.blocks"),
        ("epcgan", "model.dropout"),
    ],
)
def test_a_key_that_a_system_does_not_use_is_refused_wherever_it_stands(preset, key, tmp_path):
    with pytest.raises(ConfigError, match=f"overrides: {key} has no meaning for model.system={preset}") as caught:
        load_config(preset, [f"{key}=1"])
    assert len(str(caught.value)) < 200
    section, name = key.split(".")
    tree = {"model": {"system": preset}}
    tree.setdefault(section, {})[name] = 1
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=rf"own\.yaml: {key} has no meaning"):
        load_config(tmp_path / "own.yaml")


def test_another_system_takes_what_both_have_and_refuses_the_rest():
    assert load_config("fast", ["model.system=epcgan"]).model.blocks == 9
    with pytest.raises(ConfigError, match=r"loss\.ssim has no meaning for model\.system=cyclegan"):
        load_config("fast", ["model.system=cyclegan"])
    with pytest.raises(ConfigError, match=r"model\.system.*did you mean cyclegan"):
        load_config("l1", ["model.system=cycle"])
    with pytest.raises(ConfigError, match=r"model\.system: must be one of .*, got \['epcgan'\]"):
        load_config("l1", ["model.system=[epcgan]"])


@pytest.mark.parametrize("system", ["cyclegan", "cycle"])
def test_a_config_is_one_of_its_system(system):
    with pytest.raises(ValueError, match="make its Config with load_config"):
        Config(model={"system": system})


def test_limits_of_sizes():
    with pytest.raises(ConfigError, match="batch_size: at most 50"):
        load_config("cyclegan", ["train.batch_size=51"])
    with pytest.raises(ConfigError, match="image_size must be at least 64"):
        load_config("default", ["model.scales=2", "data.image_size=32"])
