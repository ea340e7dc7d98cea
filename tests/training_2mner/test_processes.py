"""One step, however it is made: by two processes, in parts, with less memory, compiled, in bf16."""

import json
import os
import signal
import socket
import time
import traceback

import pytest
import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file, save_file

from tests.conftest import fork
from training_2mner.evaluation import evaluate
from training_2mner.trainer import freeze_parameters

STEP = {
    "max_steps": 2,
    "logging_steps": 1,
    "eval_strategy": "no",
    "save_strategy": "no",
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "optim": "sgd",  # weights differ by as much as gradients do
}


def without_dropout(trainer) -> None:
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def together(processes: int, work) -> None:
    """Do some work in processes that know of each other, as a launcher starts them.

    They end without the interpreter's farewell, in which gloo's threads now and then hang.
    """
    port = free_port()
    children = []
    for rank in range(processes):
        child = fork()
        if child == 0:
            status = 1
            try:
                for state in (AcceleratorState, GradientState, PartialState):
                    state._reset_state()
                os.environ |= {
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(processes),
                    "LOCAL_WORLD_SIZE": str(processes),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                }
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    statuses: dict[int, int] = {}
    until = time.monotonic() + 120
    while len(statuses) < processes:
        if time.monotonic() > until or any(statuses.values()):
            for child in set(children) - set(statuses):
                os.kill(child, signal.SIGKILL)
            until = float("inf")
        for child in set(children) - set(statuses):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                statuses[child] = status
        time.sleep(0.02)
    assert set(statuses.values()) == {0}


@pytest.fixture
def trained(trainer_for, encoders, tmp_path):
    """`trained(processes, **arguments)`: weights, log and test results of a training."""

    def train(processes: int = 1, test=None, **arguments) -> tuple[dict, list[dict], dict]:
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()

        def work():
            backend = {"ddp_backend": "gloo"} if processes > 1 else {}
            trainer = trainer_for(**STEP | backend | arguments)
            assert trainer.accelerator.num_processes == processes
            without_dropout(trainer)
            trainer.train()
            trainer.save_model(str(folder))
            results = {}
            if test is not None:
                results, _ = evaluate(trainer, test, True, 3)
            if trainer.is_world_process_zero():
                log = [line for line in trainer.state.log_history if "loss" in line]
                (folder / "log.json").write_text(json.dumps([log, results]))

        together(processes, work) if processes > 1 else work()
        return load_file(folder / "model.safetensors"), *json.loads(
            (folder / "log.json").read_text()
        )

    return train


def assert_same(found, expected, tolerance: float = 2e-5) -> None:
    """Losses, gradient norms and weights are the same."""
    for line, other in zip(found[1], expected[1], strict=True):
        for key in [key for key in other if "loss" in key or key == "grad_norm"]:
            assert line[key] == pytest.approx(other[key], rel=10 * tolerance, abs=tolerance), key
    assert len(found[1]) == 2
    for name, weight in expected[0].items():
        torch.testing.assert_close(
            found[0][name], weight, rtol=tolerance, atol=tolerance, msg=lambda _, name=name: name
        )


@pytest.mark.parametrize(
    ("checkpointing", "model_config"),
    [
        (False, {"alignment_level": "sentence", "alpha": 0.5}),
        (True, {"alignment_level": "entity", "alpha": 0.5}),
        (True, {"alignment_level": "none"}),
        (True, {"alignment_level": "sentence", "cross_view_weight": 0.5}),
    ],
    ids=["sentence", "entity", "none", "two views"],
)
def test_two_processes_make_the_steps_of_one(trained, checkpointing, model_config):
    """4 sentences, then the last 2 of the epoch; the negatives are those of both processes."""
    more = {"model_config": model_config, "activation_checkpointing": checkpointing}
    alone = trained(per_device_train_batch_size=4, **more)
    both = trained(2, per_device_train_batch_size=2, **more)
    assert_same(both, alone)


def test_two_processes_accumulate_to_the_step_of_one(trained):
    """Likelihoods only: the negatives of a contrastive loss are those of a micro-batch."""
    more = {"model_config": {"alignment_level": "none"}}
    alone = trained(per_device_train_batch_size=6, **more)
    both = trained(2, per_device_train_batch_size=1, gradient_accumulation_steps=3, **more)
    assert_same(both, alone)
    uneven = trained(2, per_device_train_batch_size=2, gradient_accumulation_steps=2, **more)
    assert_same(uneven, alone)


def test_two_processes_score_as_one(trained, rows):
    odd = rows.select(range(5))
    alone = trained(test=odd, per_device_train_batch_size=4, per_device_eval_batch_size=2)
    both = trained(2, test=odd, per_device_train_batch_size=2, per_device_eval_batch_size=2)
    assert both[2] == alone[2]
    assert alone[2]["controls"]


@pytest.mark.parametrize("level", ["sentence", "entity"])
def test_evaluation_goes_on_where_one_process_has_no_image(trainer_for, encoders, rows, level):
    """Batches of 2 sentences: the first process has two images, the second none."""

    def work():
        trainer = trainer_for(
            model_config={"alignment_level": level},
            evaluation=rows.select([0, 1, 3, 5]),
            per_device_eval_batch_size=2,
            ddp_backend="gloo",
        )
        assert trainer.accelerator.num_processes == 2
        assert trainer.evaluate()["eval_loss"] > 0

    together(2, work)


@pytest.mark.parametrize("frozen", [[], ["alignment"]], ids=["trained", "frozen"])
@pytest.mark.parametrize("level", ["sentence", "entity"])
def test_a_batch_without_pixel_values_is_aligned_with_those_that_have_some(
    trainer_for, encoders, rows, tmp_path, level, frozen
):
    """The second process's batch has sentences alone: loss and gradient are those of one batch."""

    def aligned(numbers, with_images: bool = True) -> dict[str, torch.Tensor]:
        trainer = trainer_for(model_config={"alignment_level": level})
        without_dropout(trainer)
        freeze_parameters(trainer.model, frozen)
        batch = trainer.data_collator([rows[number] for number in numbers])
        if not with_images:
            del batch["pixel_values"], batch["image_mask"]
        loss = trainer.model.train()(**batch).losses["alignment"]
        loss.backward()
        gradients = {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad
            for name, weight in trainer.model.named_parameters()
        }
        return {"loss": loss.detach(), **gradients}

    def work():
        dist.init_process_group("gloo")
        rank = dist.get_rank()
        found = aligned([[0, 1], [3, 5]][rank], with_images=rank == 0)
        for value in found.values():
            dist.all_reduce(value)
            value /= 2
        if rank == 0:
            save_file(found, tmp_path / "found.safetensors")

    together(2, work)
    found = load_file(tmp_path / "found.safetensors")
    for name, value in aligned([0, 1, 3, 5]).items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert found["loss"] > 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"activation_checkpointing": True},
        {"torch_compile": True, "torch_compile_backend": "aot_eager"},
        {"activation_checkpointing": True, "model_config": {"cross_view_weight": 0.5}},
    ],
    ids=["checkpointing", "compiled", "checkpointing, two views"],
)
def test_a_step_is_the_same(trained, arguments):
    plain = {key: arguments[key] for key in arguments if key == "model_config"}
    assert_same(trained(**arguments), trained(**plain))


def test_a_step_in_bf16_is_nearly_the_same(trained):
    fast, exact = trained(bf16="yes"), trained(bf16="no")
    assert_same(fast, exact, tolerance=2e-2)
    assert fast[1] != exact[1]


def test_checkpointing_reads_each_layer_twice(trainer_for):
    """It is on where it is asked for: the layers run again in the backward pass."""
    trainer = trainer_for(activation_checkpointing=True, **STEP)
    runs = []
    layer = trainer.model.model.text_model.encoder.layer[0].attention
    layer.register_forward_hook(lambda *_: runs.append(torch.is_grad_enabled()))
    trainer.train()
    assert len(runs) == 2 * STEP["max_steps"]
