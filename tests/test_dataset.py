from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY

import config_cpu
from study.corpus import read_corpus
from training.dataset import (
    Corpus,
    evaluation_windows,
    passage,
    probe_set,
    shuffled_probe,
    training_batch,
    whole_split,
)
from training.seeding import numpy_stream, stream_seed

CONFIG = config_cpu.CONFIG


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.from_text(read_corpus())


def test_tiny_shakespeare_has_the_sizes_of_the_report(corpus):
    assert len(corpus.train) == 1_003_854 and len(corpus.validation) == 111_540
    assert corpus.characters == "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    assert len(corpus.characters) == CONFIG.vocabulary_size
    assert "".join(corpus.characters[token] for token in corpus.train[:14]) == "First Citizen:"


def test_targets_are_the_inputs_shifted_by_one(corpus):
    inputs, targets = training_batch(corpus, CONFIG, seed=1, step=0)
    assert inputs.shape == targets.shape == (32, 128)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])


def test_a_batch_is_a_function_of_seed_and_step_alone(corpus):
    later = training_batch(corpus, CONFIG, 1, 70)[0]
    training_batch(corpus, CONFIG, 1, 3)
    assert torch.equal(later, training_batch(corpus, CONFIG, 1, 70)[0])
    assert not torch.equal(later, training_batch(corpus, CONFIG, 1, 71)[0])
    assert not torch.equal(later, training_batch(corpus, CONFIG, 2, 70)[0])


def test_batches_reach_both_ends_of_the_split():
    tokens = torch.arange(TINY.context + 3)
    corpus = Corpus("", tokens, tokens)
    batches = [training_batch(corpus, TINY, seed=0, step=step) for step in range(9)]
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert inputs.min() == 0 and targets.max() == len(tokens) - 1


def test_probe_set_is_fixed_inside_validation_and_without_repeats(corpus):
    probe, again = probe_set(corpus, CONFIG), probe_set(corpus, CONFIG)
    assert probe.contexts.shape == (1000, 128) and probe.targets.shape == (1000,)
    assert torch.equal(probe.contexts, again.contexts) and torch.equal(probe.targets, again.targets)
    text = bytes(corpus.validation.tolist())
    starts = {text.find(bytes(context.tolist())) for context in probe.contexts}
    assert -1 not in starts and len(starts) > 990
    start = text.find(bytes(probe.contexts[0].tolist()))
    assert text[start + 128] == probe.targets[0]
    just_enough = replace(corpus, validation=corpus.validation[: 1000 + 128])
    assert len(torch.unique(probe_set(just_enough, CONFIG).contexts, dim=0)) == 1000


def test_the_passage_is_whole_lines_from_a_speaker_s_name_on(corpus):
    probe, text = passage(corpus, CONFIG), corpus.decode(corpus.validation)
    drawn = "BAPTISTA:\nI have a daughter, sir, called Katharina.\n\nGREMIO:\nYou are too blunt: go to it orderly.\n"
    assert corpus.decode(probe.targets) == drawn and len(drawn) >= CONFIG.passage_length
    start = text.index(drawn)
    assert [corpus.decode(context) for context in probe.contexts] == [
        text[place - CONFIG.context : place] for place in range(start, start + len(drawn))
    ]


@pytest.mark.parametrize(("length", "end"), [(1, "A:\n"), (3, "A:\n"), (4, "A:\nbc\n"), (6, "A:\nbc\n")])
def test_the_passage_ends_with_the_line_that_makes_it_long_enough(length, end):
    short = Corpus.from_text("x" * 90 + "\n\nA:\nbc\n")
    probe = passage(
        replace(short, validation=torch.cat([short.train, short.validation])),
        replace(CONFIG, context=8, passage_length=length),
    )
    assert short.decode(probe.targets) == end and probe.contexts.shape == (len(end), 8)


def test_evaluation_windows_are_fixed_and_from_their_split(corpus):
    inputs, targets = evaluation_windows(corpus, CONFIG, "validation")
    assert inputs.shape == targets.shape == (64, 128)
    assert torch.equal(inputs, evaluation_windows(corpus, CONFIG, "validation")[0])
    assert not torch.equal(inputs, evaluation_windows(corpus, CONFIG, "train")[0])


@pytest.mark.parametrize("length", [2, 33, 129, 128 * 4 + 1, 1000])
def test_whole_split_has_every_target_once(length):
    tokens = torch.arange(length)
    seen = torch.cat([targets.flatten() for _, targets in whole_split(tokens, TINY)])
    assert torch.equal(seen, tokens[1:])
    for inputs, targets in whole_split(tokens, TINY):
        assert torch.equal(inputs.flatten() + 1, targets.flatten())
        assert inputs.shape[1] <= TINY.context and len(inputs) <= TINY.batch_size


def test_streams_of_different_names_differ_and_are_the_same_everywhere():
    assert stream_seed(42, "order", 0) == 1186917750850176449
    names = [(42, "order"), (42, "dropout"), (42, "init"), (43, "order"), (42, "order", 1)]
    draws = [tuple(numpy_stream(*name).integers(0, 2**62, 3)) for name in names]
    assert len(set(draws)) == len(names)
    order, dropout = (numpy_stream(42, name).standard_normal(4000) for name in ("order", "dropout"))
    assert abs(np.corrcoef(order, dropout)[0, 1]) < 5 / np.sqrt(4000)


def test_the_probe_set_is_shuffled_for_the_control_on_different_contexts():
    shuffled = shuffled_probe(CONFIG)
    assert sorted(shuffled) == list(range(CONFIG.probe_contexts))
    assert (shuffled == np.arange(CONFIG.probe_contexts)).mean() < 0.01
