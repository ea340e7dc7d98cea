"""The contrastive losses against their definitions, in one process and in two."""

import os
import socket
import subprocess
import sys
import textwrap

import pytest
import torch
import torch.nn.functional as F

from modeling_2mner.alignment_2mner import (
    Alignment,
    content_ids,
    cross_view_divergence,
    differ,
    entity_nce,
    info_nce,
    nt_xent,
)


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def all_different(rows):
    return ~torch.eye(rows, dtype=torch.bool)


def test_nt_xent_is_its_definition():
    text, image, tau = unit(4, 8), unit(4, 8, seed=1), 0.5
    vectors = torch.cat([text, image])
    expected = []
    for row in range(4):
        losses = []
        for one, partner in ((row, row + 4), (row + 4, row)):
            others = [other for other in range(8) if other != one]
            weights = torch.stack([(vectors[one] @ vectors[other] / tau).exp() for other in others])
            losses.append(-((vectors[one] @ vectors[partner] / tau).exp() / weights.sum()).log())
        expected.append(sum(losses) / 2)
    pairs = torch.ones(4, dtype=torch.bool)
    torch.testing.assert_close(
        nt_xent(text, image, pairs, all_different(4), tau), torch.stack(expected)
    )


def test_info_nce_is_the_mean_of_both_directions():
    text, image, tau = unit(4, 8), unit(4, 8, seed=1), 0.1
    similarity = text @ image.T / tau
    target = torch.arange(4)
    expected = (
        F.cross_entropy(similarity, target, reduction="none")
        + F.cross_entropy(similarity.T, target, reduction="none")
    ) / 2
    pairs = torch.ones(4, dtype=torch.bool)
    torch.testing.assert_close(info_nce(text, image, pairs, all_different(4), tau), expected)


def test_cross_view_divergence_is_its_definition():
    teacher, student = (
        torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)
    )
    teacher, student = teacher.log_softmax(-1), student.log_softmax(-1)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    expected = [
        9
        * sum(
            F.kl_div(student[row, word], teacher[row, word].exp(), reduction="sum")
            for word in words
        )
        for row, words in enumerate([(0, 1, 2), (0,)])
    ]
    found = cross_view_divergence(teacher, student, mask, temperature=3)
    torch.testing.assert_close(found, torch.stack(expected))


def test_views_that_say_the_same_diverge_by_exactly_nothing():
    said = torch.randn(2, 3, 5).log_softmax(-1)
    said[1, 2] = torch.nan  # under the padding
    mask = torch.tensor([[True, True, True], [True, True, False]])
    assert (cross_view_divergence(said, said, mask, temperature=2) == 0).all()


@pytest.mark.parametrize("objective", [nt_xent, info_nce])
def test_sentences_without_an_image_take_no_part(objective):
    text, image = unit(6, 8), unit(6, 8, seed=1)
    pairs = torch.tensor([True, False, True, True, False, False])
    alone = objective(text[pairs], image[pairs], pairs[pairs], all_different(3), 0.5)
    among_others = objective(text, image, pairs, all_different(6), 0.5)
    torch.testing.assert_close(among_others[pairs], alone)
    assert (among_others[~pairs] == 0).all()


def test_an_entity_is_pulled_to_its_own_image():
    """The loss is small if it is one of the image's patches, large if another image's."""
    patches = torch.eye(6).view(3, 2, 6)  # three images of two patches, all different
    pairs = torch.ones(3, dtype=torch.bool)
    entity = patches[1, 0][None]
    losses = [
        entity_nce(entity, torch.tensor([own]), patches, pairs, all_different(3), 0.05)
        for own in range(3)
    ]
    assert losses[1] < 0.01
    assert min(losses[0], losses[2]) > 5


def test_entities_of_sentences_without_an_image_take_no_part():
    patches = unit(3, 2, 8)
    pairs = torch.tensor([True, False, True])
    losses = entity_nce(unit(3, 8, seed=1), torch.arange(3), patches, pairs, all_different(3), 0.5)
    assert losses[1] == 0
    assert (losses[[0, 2]] > 0).all()


def module(objective="nt_xent"):
    torch.manual_seed(0)
    return Alignment(8, 6, 4, 0.5, objective)


@pytest.mark.parametrize("level", ["sentence", "entity"])
@pytest.mark.parametrize("images", [0, 1])
def test_fewer_than_two_images_give_zero_and_no_nan(level, images):
    alignment = module()
    pairs = torch.arange(3) < images
    if level == "sentence":
        text = alignment.embed_text(torch.randn(3, 8))
        image = alignment.embed_image(torch.randn(3, 6))
        loss = alignment.sentence_loss(text, image, pairs, torch.arange(1, 4)[:, None])
    else:
        entities = torch.tensor([[0, -1], [-1, 0], [0, 0]])
        words, patches = torch.randn(3, 2, 8), torch.randn(3, 5, 6)
        loss = alignment.entity_loss(words, patches, entities, pairs, torch.arange(1, 4)[:, None])
    loss.backward()
    assert loss == 0
    assert all(parameter.grad.isfinite().all() for parameter in alignment.parameters())


def test_entity_vectors_are_means_over_their_words():
    alignment = module()
    words, patches = torch.randn(2, 4, 8), torch.randn(2, 5, 6)
    entities = torch.tensor([[0, 0, -1, 1], [-1, 0, 0, 0]])
    pairs = torch.ones(2, dtype=torch.bool)
    means = torch.stack([words[0, :2].mean(0), words[0, 3], words[1, 1:].mean(0)])
    expected = entity_nce(
        alignment.embed_text(means),
        torch.tensor([0, 0, 1]),
        alignment.embed_image(patches),
        pairs,
        all_different(2),
        0.5,
    ).mean()
    loss = alignment.entity_loss(words, patches, entities, pairs, torch.arange(1, 3)[:, None])
    torch.testing.assert_close(loss, expected)


def test_no_entities_give_zero():
    entities = torch.full((2, 4), -1)
    pairs = torch.ones(2, dtype=torch.bool)
    words, patches = torch.randn(2, 4, 8), torch.randn(2, 5, 6)
    assert module().entity_loss(words, patches, entities, pairs, torch.arange(2)[:, None]) == 0


@pytest.mark.parametrize("objective", [nt_xent, info_nce])
def test_sentences_with_equal_images_are_not_negatives(objective):
    """16 sentences on 4 images, each with the vector of its image: nothing is left to learn."""
    ids = torch.arange(16) % 4 + 1
    vectors = torch.eye(4)[ids - 1]
    pairs = torch.ones(16, dtype=torch.bool)
    assert objective(vectors, vectors, pairs, differ(ids[:, None]), 0.05).max() < 1e-6
    assert objective(vectors, vectors, pairs, all_different(16), 0.05).min() > 1


def test_an_equal_image_is_no_negative_of_an_entity():
    ids = torch.tensor([3, 5, 3])
    patches = torch.eye(6)[[0, 1, 2, 3, 0, 1]].view(3, 2, 6)
    pairs = torch.ones(3, dtype=torch.bool)
    entity = patches[0, 0][None]
    assert entity_nce(entity, torch.tensor([0]), patches, pairs, differ(ids[:, None]), 0.05) < 1e-6
    assert entity_nce(entity, torch.tensor([0]), patches, pairs, all_different(3), 0.05) > 0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_rows_of_equal_content_have_equal_ids(dtype):
    values = torch.randn(64, 3, 5, 7).to(dtype)
    swapped = values[:1].clone()
    swapped[0, 0, 0, :2] = swapped[0, 0, 0, [1, 0]]
    negated = -values[:1]
    ids = content_ids(torch.cat([values, values.flip(0), swapped, negated]))
    assert torch.equal(ids[:64], ids[64:128].flip(0))
    assert len(ids.unique()) == 66
    assert torch.equal(content_ids(values[5:6]), ids[5:6])


TWO_PROCESSES = textwrap.dedent(
    """
    import os, sys
    import torch, torch.distributed as dist
    from safetensors.torch import save_file
    from modeling_2mner.alignment_2mner import Alignment

    level, folder = sys.argv[1:]
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    alignment = Alignment(8, 6, 4, 0.5, "nt_xent")
    torch.manual_seed(1)
    words, patches = torch.randn(5, 3, 8), torch.randn(5, 4, 6)
    entities = torch.tensor([[0, -1, 1], [0, 0, -1], [-1, -1, -1], [0, 1, 2], [-1, 0, -1]])
    pairs = torch.tensor([True, True, True, False, True])
    # The second and the last have equal images; some sentences of the first process have two.
    ids = torch.tensor([[7, 0], [8, 9], [4, 3], [0, 0], [9, 0]])
    mask = (ids != 0).repeat_interleave(2, 1)
    mine = slice(0, 3) if rank == 0 else slice(3, 5)  # unequal shares
    if rank == 1:
        ids, mask = ids[:, :1], mask[:, :2]
        patches = patches[:, :2] if level == "entity" else patches
    if level == "sentence":
        text = alignment.embed_text(words[mine].mean(1))
        image = alignment.embed_image(patches[mine].mean(1))
        loss = alignment.sentence_loss(text, image, pairs[mine], ids[mine])
    else:
        own = words[mine], patches[mine], entities[mine], pairs[mine], ids[mine], mask[mine]
        loss = alignment.entity_loss(*own)
    loss.backward()
    gradients = {}
    for name, parameter in alignment.named_parameters():
        dist.all_reduce(parameter.grad)  # data-parallel training: the mean over the processes
        gradients[name] = parameter.grad / 2
    loss = loss.detach()
    dist.all_reduce(loss)
    if rank == 0:
        save_file({"loss": loss / 2, **gradients}, os.path.join(folder, "result.safetensors"))
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # gloo may hang while the interpreter shuts down
    """
)


@pytest.mark.parametrize("level", ["sentence", "entity"])
def test_two_processes_give_the_loss_and_gradient_of_one(level, tmp_path):
    """Negatives of both processes count, whatever their shares of the batch."""
    from safetensors.torch import load_file

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, level, str(tmp_path)],
            env={**environment, "RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    found = load_file(tmp_path / "result.safetensors")

    alignment = module()
    torch.manual_seed(1)
    words, patches = torch.randn(5, 3, 8), torch.randn(5, 4, 6)
    entities = torch.tensor([[0, -1, 1], [0, 0, -1], [-1, -1, -1], [0, 1, 2], [-1, 0, -1]])
    pairs = torch.tensor([True, True, True, False, True])
    ids = torch.tensor([[7, 0], [8, 9], [4, 3], [0, 0], [9, 0]])
    mask = (ids != 0).repeat_interleave(2, 1)
    if level == "sentence":
        text = alignment.embed_text(words.mean(1))
        loss = alignment.sentence_loss(text, alignment.embed_image(patches.mean(1)), pairs, ids)
    else:
        loss = alignment.entity_loss(words, patches, entities, pairs, ids, mask)
    loss.backward()
    torch.testing.assert_close(found.pop("loss"), loss.detach())
    for name, parameter in alignment.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-6, rtol=1e-4)
