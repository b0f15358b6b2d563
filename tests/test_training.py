"""One trial and one cell: determinism, divergence, and what is kept."""

import json
import math
import re

import numpy as np
import pytest
import torch
from tiny_trials import CELL, assert_same_trial, elsewhere, predictions, run, weights, with_config
from torch.nn import functional as F

import config
import config_cpu
import train
from metrics import relative_pd, top1_mismatches
from model import build_model
from study.files import OtherSettings
from study.options import CONFIGS
from study.plan import Study, load_corpus
from study.store import Store
from training import evaluation
from training.dataset import whole_split
from training.seeding import deterministic

VARIED = [(), ("init",), ("order",), ("dropout",), ("init", "order", "dropout")]


@pytest.mark.parametrize("architecture", config.MODELS)
def test_same_seed_twice_gives_the_same_bits_and_no_difference(tiny_study, architecture):
    names = (architecture, "swiglu")
    again = elsewhere(tiny_study, "again")
    first, second = run(tiny_study, names=names), run(again, names=names)
    assert_same_trial(tiny_study, again, names)
    p, q = predictions(tiny_study, first, names)[-1], predictions(again, second, names)[-1]
    assert relative_pd(p, q) == 0 and top1_mismatches(p, q) == 0


def test_numbers_do_not_depend_on_the_threads_of_the_process(tiny_study):
    again = elsewhere(tiny_study, "again")
    before = torch.get_num_threads()
    run(tiny_study)
    torch.set_num_threads(2)
    try:
        run(again)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert_same_trial(tiny_study, again)


def test_different_seeds_give_different_models(tiny_study):
    first, second = run(tiny_study, 1), run(tiny_study, 2)
    assert (first["seed"], second["seed"]) == (42, 43)
    assert relative_pd(*(predictions(tiny_study, record)[-1] for record in (first, second))) > 0.01


def test_divergence_is_a_result(tiny_study):
    study = with_config(tiny_study, learning_rate=1e30)
    record = run(study)
    assert record["status"] == "diverged"
    assert record["val_loss"] is None and record["passage"] is None and record["divergence_seen_at_step"] == 3
    run(study, 2)
    cell = json.loads(study.store.cell_path(study.cell(*CELL)).read_text())
    assert [trial["status"] for trial in cell["trials"]] == ["diverged", "diverged"]
    assert cell["status"] == "completed" and cell["pairs"] == [] and cell["mean_val_loss"] is None


@pytest.mark.parametrize("harm", ["the loss of the whole split", "a probability"])
def test_what_is_infinite_only_at_the_end_or_on_the_probe_set_is_divergence(tiny_study, monkeypatch, harm):
    study = with_config(tiny_study, iterations=1, n_trials=1)
    measure, ask = train.evaluate, train.predict

    def evaluate(model, windows):
        windows = list(windows)
        loss, accuracy = measure(model, windows)
        return (math.inf if len(windows) > 1 and harm.startswith("the loss") else loss), accuracy

    def predict(*arguments):
        probabilities = ask(*arguments)
        probabilities[0, 0] = math.nan if harm == "a probability" else probabilities[0, 0]
        return probabilities

    monkeypatch.setattr(train, "evaluate", evaluate)
    monkeypatch.setattr(train, "predict", predict)
    record = run(study, names=("nanotransformer", "relu"))
    assert record["status"] == "diverged" and record["val_loss"] is None
    assert record["divergence_seen_at_step"] == (1 if harm.startswith("the loss") else 0)


def test_one_trial_has_no_standard_deviation(tiny_study):
    run(with_config(tiny_study, iterations=1), names=("nanotransformer", "relu"))
    cell = json.loads(tiny_study.store.cell_path(tiny_study.cell("nanotransformer", "relu")).read_text())
    assert cell["mean_val_loss"] is not None and cell["std_val_loss"] is None


def test_other_settings_are_refused_and_named(tiny_study):
    run(tiny_study)
    other = with_config(tiny_study, iterations=9, learning_rate=0.01)
    before = {path: path.read_bytes() for path in tiny_study.store.results.rglob("*") if path.is_file()}
    with pytest.raises(
        OtherSettings, match=r"iterations 6 there, 9 here; learning_rate 0.0003 there, 0.01 here.*--study"
    ):
        run(other, 2)
    tiny_study.store.cell_path(tiny_study.cell(*CELL)).unlink()
    with pytest.raises(OtherSettings, match="iterations 6 there, 9 here"):
        run(other, 2)
    after = {path: path.read_bytes() for path in tiny_study.store.results.rglob("*") if path.is_file()}
    assert (
        after == {path: content for path, content in before.items() if path in after}
        and len(after) == len(before) - 1
    )


def test_more_trials_add_to_what_is_there(tiny_study):
    for number in (1, 2):
        run(tiny_study, number)
    path = tiny_study.store.cell_path(tiny_study.cell(*CELL))
    two = json.loads(path.read_text())
    run(with_config(tiny_study, n_trials=3), 3)
    three = json.loads(path.read_text())
    assert three["trials"][:2] == two["trials"] and three["pairs"][0] == two["pairs"][0]
    assert [pair["trials"] for pair in three["pairs"]] == [[1, 2], [1, 3], [2, 3]]
    assert three["fingerprint"] == two["fingerprint"]


def test_trials_of_a_committed_cell_are_kept_when_fewer_are_trained_again(tiny_study):
    for number in (1, 2, 3):
        run(with_config(tiny_study, n_trials=3), number)
    path = tiny_study.store.cell_path(tiny_study.cell(*CELL))
    committed = json.loads(path.read_text())
    clone = elsewhere(tiny_study, "clone")
    clone.store.results.mkdir(parents=True)
    copy = clone.store.cell_path(clone.cell(*CELL))
    copy.write_bytes(path.read_bytes())
    run(clone, 2)
    cell = json.loads(copy.read_text())
    assert [trial["trial"] for trial in cell["trials"]] == [1, 2, 3]
    assert cell["pairs"] == committed["pairs"] and cell["status"] == "completed"


def test_cell_file_has_what_others_rely_on(tiny_study):
    records = [run(tiny_study, number) for number in (1, 2)]
    cell = json.loads(tiny_study.store.cell_path(tiny_study.cell(*CELL)).read_text())
    keys = (
        "model activation study status n_parameters config environment fingerprint trials pairs mean_val_loss "
        "std_val_loss mean_val_accuracy mean_relative_pd mean_top1_mismatches mean_training_time"
    )
    assert set(keys.split()) <= cell.keys()
    trial_keys = "trial seed status train_loss val_loss train_accuracy val_accuracy training_time history"
    assert all(set(trial_keys.split()) <= trial.keys() for trial in cell["trials"])
    assert cell["trials"][0]["history"]["step"] == [0, 3, 6]
    (pair,) = cell["pairs"]
    p, q = (predictions(tiny_study, record) for record in records)
    assert p.shape == (3, 40, 65) and p.dtype == np.float32
    assert pair["trials"] == [1, 2] and pair["n_predictions"] == 40
    assert pair["relative_pd"] == pair["history"]["relative_pd"][-1] == relative_pd(p[-1], q[-1])
    assert pair["top1_mismatches"] == pair["history"]["top1_mismatches"][-1] == top1_mismatches(p[-1], q[-1])
    other = q[-1][np.random.default_rng(0).permutation(40)]
    assert pair["different_contexts"].keys() == {"relative_pd", "top1_mismatches", "global_pd"}
    assert pair["different_contexts"]["relative_pd"] == pytest.approx(relative_pd(p[-1], other), rel=0.5)
    for name in ("n_predictions", "top1_mismatches"):
        assert {sum(groups[name]) for groups in pair["breakdown"].values()} == {pair[name]}
    assert [len(text) for text in records[0]["texts"]] == [6, 6] and 0 <= pair["text_distance"] <= 1
    losses = [record["val_loss"] for record in records]
    assert cell["mean_val_loss"] == pytest.approx(sum(losses) / 2)
    assert cell["std_val_loss"] == pytest.approx(abs(losses[0] - losses[1]) / 2)  # ddof = 0
    assert 0 <= cell["mean_val_accuracy"] <= 1


def test_losses_are_those_of_the_whole_validation_split(tiny_study):
    record = run(tiny_study)
    model = build_model(*CELL, tiny_study.config)
    model.load_state_dict(weights(tiny_study))
    total = count = hits = 0
    with torch.no_grad(), deterministic("cpu"):
        for inputs, targets in whole_split(load_corpus("cpu").validation, tiny_study.config):
            chosen = model.eval()(inputs).log_softmax(-1).gather(2, targets[..., None])
            hits += (model(inputs).argmax(-1) == targets).sum().item()
            total, count = total - chosen.double().sum().item(), count + targets.numel()
    assert count == len(load_corpus("cpu").validation) - 1
    assert record["val_loss"] == pytest.approx(total / count, rel=1e-6)
    assert record["val_accuracy"] == hits / count


def test_the_passage_is_predicted_letter_by_letter_from_what_comes_before_it(tiny_study):
    """As one forward pass over the text says, which sees all that comes before and not only the context."""
    study = with_config(tiny_study, iterations=60, eval_interval=60, learning_rate=1e-2)
    record = run(study, names=("nanotransformer", "gelu"))
    cell = json.loads(study.store.cell_path(study.cell("nanotransformer", "gelu")).read_text())
    drawn, corpus = record["passage"], load_corpus("cpu")
    assert cell["trials"][0]["passage"] == drawn
    assert len(drawn["text"]) == len(drawn["predicted"]) == len(drawn["probability"]) >= study.config.passage_length
    model = build_model("nanotransformer", "gelu", study.config).eval()
    model.load_state_dict(weights(study, names=("nanotransformer", "gelu")))
    text = corpus.decode(corpus.validation)
    start = text.index(drawn["text"])
    for place, (predicted, probability) in enumerate(
        zip(drawn["predicted"], drawn["probability"], strict=True), start
    ):
        context = corpus.validation[place - study.config.context : place]
        chances = F.softmax(model(context[None])[0, -1], -1)
        assert corpus.characters[chances.argmax()] == predicted
        assert probability == pytest.approx(chances.max().item(), abs=6e-5)


def test_a_uniform_model_has_the_loss_of_a_guess():
    batches = [(torch.zeros(3, 7, dtype=torch.int64), torch.arange(21).view(3, 7))]
    loss, accuracy = evaluation.evaluate(lambda inputs: torch.zeros(*inputs.shape, 65), batches)
    assert loss == pytest.approx(math.log(65)) and accuracy == pytest.approx(1 / 21)


def test_controls_vary_only_the_streams_that_they_name(tiny_study):
    controls = {vary: with_config(elsewhere(tiny_study, "-".join(vary) or "none"), vary=vary) for vary in VARIED}
    differ = {}
    for vary, study in controls.items():
        p, q = (predictions(study, run(study, number)) for number in (1, 2))
        differ[vary] = [relative_pd(*pair) > 0 for pair in zip(p, q, strict=True)]
    assert differ[()] == [False, False, False]  # the same seed twice
    assert differ[("init",)] == [True, True, True]
    assert differ[("order",)] == differ[("dropout",)] == [False, True, True]  # alike before the first step
    assert differ[("init", "order", "dropout")] == [True, True, True]


def test_equal_models_write_equal_texts_and_follow_their_probabilities():
    """Gumbel noise draws from the softmax: frequencies agree with the probabilities."""
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0])

    class Fixed(torch.nn.Module):
        def predict_next(self, contexts):
            return logits.expand(len(contexts), -1)

    noise = np.random.default_rng(0).gumbel(size=(50, 400, 4)).astype(np.float32)
    contexts = torch.zeros(400, 3, dtype=torch.int64)
    texts = evaluation.write_texts(Fixed(), contexts, noise)
    assert texts.shape == (400, 50) and torch.equal(texts, evaluation.write_texts(Fixed(), contexts, noise))
    frequencies = torch.bincount(texts.flatten(), minlength=4) / texts.numel()
    torch.testing.assert_close(frequencies, logits.softmax(0), atol=0.015, rtol=0)


def test_training_learns(tiny_study):
    study = with_config(tiny_study, iterations=60, eval_interval=60, learning_rate=1e-2)
    losses = run(study)["history"]["val_loss"]
    assert losses[-1] < losses[0] - 0.8


def test_checkpoints_hold_the_plain_weights(tiny_study):
    run(tiny_study)
    model = build_model(*CELL, tiny_study.config)
    model.load_state_dict(weights(tiny_study))
    tokens = torch.zeros(1, 5, dtype=torch.int64)
    assert F.softmax(model.eval()(tokens), -1).sum(-1).allclose(torch.ones(1, 5))


def test_default_study_is_the_report_s():
    cpu, full = config_cpu.CONFIG, config.CONFIG
    assert (cpu.context, cpu.batch_size, cpu.iterations, cpu.eval_interval, cpu.dropout) == (128, 32, 100, 50, 0.2)
    assert (full.context, full.batch_size, full.iterations, cpu.learning_rate, cpu.seed_base) == (
        256,
        64,
        5000,
        3e-4,
        42,
    )
    assert len(cpu.models) * len(cpu.activations) == 36 and cpu.n_trials == 3


# ---------------------------------------------------------------- the command


def command(of: Study, *options: str) -> int:
    places = ["--results-dir", str(of.store.results), "--checkpoints-dir", str(of.store.checkpoints)]
    try:
        return train.main(["--model", "charlm", "--activation", "gelu", *places, *options])
    except SystemExit as end:
        return end.code


@pytest.fixture
def tiny_configuration(tiny_study, monkeypatch):
    monkeypatch.setitem(CONFIGS, "cpu", tiny_study.config)


def test_the_command_trains_a_cell_and_prints_its_results(tiny_study, tiny_configuration, capsys):
    assert command(tiny_study, "--config", "cpu") == 0
    out = capsys.readouterr().out
    cell = tiny_study.store.read_cell(tiny_study.cell(*CELL))
    for trial in cell["trials"]:
        assert f"trial {trial['trial']}/2, seed {trial['seed']}\n  step     0  train loss " in out
        assert re.search(rf"{trial['trial']} +{trial['seed']} +completed +.*{trial['val_loss']:.4f}", out)
    (pair,) = cell["pairs"]
    assert re.search(rf"1, 2 +{pair['relative_pd']:.4f} +{pair['top1_mismatches']}/40\n", out)
    assert command(tiny_study, "--config", "cpu") == 0
    assert capsys.readouterr().out.count("already done") == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--activation", "sine"), "unknown activation 'sine'"),
        (("--trials", "-1"), "'-1' is not a whole number above 0"),
        (("--study", "n" * 101), "at most 100"),
        (("--iterations", "5"), "iterations 6 there, 5 here"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tiny_study, tiny_configuration, capsys, options, reason):
    assert command(tiny_study, "--config", "cpu", "--trials", "1") == 0
    capsys.readouterr()
    assert command(tiny_study, "--config", "cpu", *options) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1 and reason in complaint


def test_a_disk_that_fails_is_one_line(tiny_study, tiny_configuration, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write_predictions", full)
    assert command(tiny_study, "--config", "cpu") == 2
    assert capsys.readouterr().err == "train.py: error: [Errno 28] No space left on device\n"
