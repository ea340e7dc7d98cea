"""A run that is killed, at any moment, ends as one that was not."""

import json
import os
import resource
import signal
import traceback
from pathlib import Path

import pytest
import torch
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from tests.conftest import fork
from training_2mner import trainer as trainer_module
from training_2mner.arguments import RecipeError, TwoMNERTrainingArguments
from training_2mner.checkpoints import (
    UNFINISHED,
    RunStopped,
    SaveBeforeStopping,
    checkpoint_to_resume,
    last_checkpoint,
    recover_checkpoints,
)

# 6 sentences in 3 steps an epoch: step 4 lies within the second epoch, step 6 ends it.
RUN = {
    "num_train_epochs": 3,
    "logging_steps": 3,
    "save_strategy": "steps",
    "save_steps": 2,
    "save_total_limit": 2,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "learning_rate": 1e-3,
    "warmup_steps": 3,
}


class At(TrainerCallback):
    """Do something at the end of a step."""

    def __init__(self, step: int, action) -> None:
        self.step, self.action = step, action

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.action()


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def outcome(work) -> int:
    """Do some work in a process of its own: its exit status, or minus the signal that ended it."""
    child = fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except SystemExit as exit_:
            status = exit_.code
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def without_times(history: list[dict]) -> list[dict]:
    return [
        {
            key: value
            for key, value in entry.items()
            if not key.endswith(("runtime", "per_second", "train_loss"))
        }
        for entry in history
    ]


@pytest.fixture
def run(trainer_for, encoders, tmp_path):
    """`run(name, ...)`: train, or go on, in the folder of that name; `prepare` gets the trainer."""

    def train(name, resume=None, prepare=None, **arguments) -> int:
        def work():
            folder = tmp_path / name
            arguments.setdefault("output_dir", str(folder))
            trainer = trainer_for(**RUN | {"resume_from_checkpoint": resume} | arguments)
            torch.manual_seed(7)
            if prepare is not None:
                prepare(trainer)
            stopper = SaveBeforeStopping()
            trainer.add_callback(stopper)
            with stopper.listening():
                trainer.train(resume_from_checkpoint=checkpoint_to_resume(trainer.args))
            trainer.save_model(str(folder / "final"))
            history = without_times(trainer.state.log_history)
            (folder / "history.json").write_text(json.dumps(history))

        return outcome(work)

    return train


@pytest.fixture(scope="module")
def wholes(tmp_path_factory) -> dict[str, Path]:
    """Folders of runs that nobody stopped, by their arguments: each is run once."""
    return {}


@pytest.fixture
def assert_same_end(run, wholes, tmp_path, tmp_path_factory):
    """Assert that a run ended as one with the same arguments that nobody stopped: weights bit for
    bit, and every line of the log."""

    def check(name: str, **arguments) -> None:
        key = json.dumps(arguments)
        if key not in wholes:
            wholes[key] = tmp_path_factory.mktemp("whole")
            assert run(wholes[key], **arguments) == 0
        assert weights(tmp_path / name) == weights(wholes[key])
        stopped, whole = (
            json.loads((folder / "history.json").read_text())
            for folder in (tmp_path / name, wholes[key])
        )
        assert stopped == whole

    return check


def weights(folder: Path) -> bytes:
    return (folder / "final" / "model.safetensors").read_bytes()


def dies_in_step(trainer) -> None:
    trainer.add_callback(At(5, kill))


def dies_while_the_optimizer_is_written(trainer) -> None:
    save = trainer._save_optimizer_and_scheduler

    def half(folder):
        save(folder)
        if trainer.state.global_step == 6:
            os.truncate(f"{folder}/optimizer.pt", 100)
            kill()

    trainer._save_optimizer_and_scheduler = half


def dies_before_the_state_is_written(trainer) -> None:
    save = trainer._save_rng_state

    def last(folder):
        save(folder)
        if trainer.state.global_step == 6:
            kill()

    trainer._save_rng_state = last


def dies_before_the_checkpoint_is_named(trainer) -> None:
    finish = trainer_module.finish_checkpoint

    def never(written, place):
        finish(written, place) if trainer.state.global_step < 6 else kill()

    trainer_module.finish_checkpoint = never


def dies_before_old_ones_are_deleted(trainer) -> None:
    def rotate(**kwargs):
        if trainer.state.global_step == 6:
            kill()

    trainer_module.rotate_checkpoints = rotate


@pytest.mark.parametrize(
    ("death", "last"),
    [
        (dies_in_step, 4),
        (dies_while_the_optimizer_is_written, 4),
        (dies_before_the_state_is_written, 4),
        (dies_before_the_checkpoint_is_named, 4),
        (dies_before_old_ones_are_deleted, 6),
    ],
)
def test_a_killed_run_ends_as_one_that_was_not(run, assert_same_end, tmp_path, death, last):
    assert run("killed", prepare=death) == -signal.SIGKILL
    checkpoint = last_checkpoint(tmp_path / "killed")
    assert checkpoint.name == f"checkpoint-{last}"
    assert Path(get_last_checkpoint(str(tmp_path / "killed"))) == checkpoint
    assert run("killed", resume="last") == 0
    assert_same_end("killed")
    assert not (tmp_path / "killed" / ".unfinished").exists()


def dies_between_the_renames(trainer) -> None:
    """Of the two by which a checkpoint replaces an older one of its name."""
    rename = Path.rename

    def second_never(path, target):
        return kill() if path.parent.name == UNFINISHED else rename(path, target)

    Path.rename = second_never


@pytest.mark.parametrize("wish", ["last", "{run}/checkpoint-4"])
def test_a_checkpoint_that_was_being_replaced_is_recovered(run, assert_same_end, tmp_path, wish):
    folder = tmp_path / "killed"
    assert run("killed", prepare=dies_in_step) == -signal.SIGKILL
    again = {"resume": f"{folder}/checkpoint-2", "prepare": dies_between_the_renames}
    assert run("killed", **again) == -signal.SIGKILL
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-2"]
    assert run("killed", resume=wish.format(run=folder)) == 0
    assert_same_end("killed")
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_checkpoint_that_was_being_replaced_outlives_a_run_from_the_beginning(tmp_path):
    (tmp_path / ".checkpoint-4.abc.old" / "checkpoint-4").mkdir(parents=True)
    (tmp_path / UNFINISHED / "checkpoint-4").mkdir(parents=True)
    recover_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-4"]


ROOM = {"little": 20_000, "configuration": 100_000, "weights": 1_000_000}
"""Bytes of the largest file that finds room: code has up to 40 kB, weights have 0.9 MB, the
optimizer's state has 1.8 MB."""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def allow_bytes(count: int) -> None:
    """No file may be larger: to who writes one it is as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, resource.RLIM_INFINITY))


@pytest.mark.parametrize("room", ROOM.values(), ids=ROOM)
def test_a_full_disk_is_one_line_and_costs_no_checkpoint(run, assert_same_end, tmp_path, room):
    folder = tmp_path / "full"

    def fills_up(trainer):
        save = trainer._save_checkpoint

        def said(*arguments):
            try:
                allow_bytes(room if trainer.state.global_step == 6 else resource.RLIM_INFINITY)
                save(*arguments)
            except OSError as error:
                allow_bytes(resource.RLIM_INFINITY)
                (tmp_path / "said").write_text(str(error))
                raise

        trainer._save_checkpoint = said

    assert run("full", prepare=fills_up) == 1
    said = (tmp_path / "said").read_text()
    assert said.startswith(f"{folder}: checkpoint-6 cannot be written")
    assert "\n" not in said
    assert said.endswith("with --resume_from_checkpoint last goes on from checkpoint-4")
    assert not (folder / UNFINISHED).exists()
    assert run("full", resume="last") == 0
    assert_same_end("full")


@pytest.mark.parametrize("room", [ROOM["little"], ROOM["configuration"]])
def test_a_model_that_cannot_be_written_leaves_the_one_before(trainer_for, tmp_path, room):
    trainer = trainer_for(**RUN)
    trainer.save_model()
    trainer.save_state()
    (tmp_path / "run" / "thresholds.json").write_text("{}")
    before = contents(tmp_path / "run")

    def work():
        trainer.model.classifier.bias.data += 1
        trainer.state.log_history += [{"loss": 1.0}] * 10_000
        allow_bytes(room)
        with pytest.raises(OSError, match="run: model cannot be written"):
            trainer.save_model()
        with pytest.raises(OSError, match=r"trainer_state\.json"):
            trainer.save_state()

    assert outcome(work) == 0
    assert contents(tmp_path / "run") == before
    assert not (tmp_path / "run" / UNFINISHED).exists()


def test_a_run_with_epochs_patience_and_a_best_checkpoint_goes_on_as_well(run, assert_same_end):
    epochs = {
        "num_train_epochs": 5,
        "save_strategy": "epoch",
        "eval_strategy": "epoch",
        "load_best_model_at_end": True,
        "save_total_limit": 1,
        "train_sampling_strategy": "random",
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-2,
    }
    stop = {"prepare": lambda trainer: trainer.add_callback(At(7, kill))}
    assert run("killed", **epochs, **stop) == -signal.SIGKILL
    assert run("killed", resume="true", **epochs) == 0
    assert_same_end("killed", **epochs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [5, 6])
def test_a_run_that_is_told_to_stop_saves_first(run, assert_same_end, tmp_path, number, step):
    """Step 6 is the last of an epoch, whose evaluation must come before the save."""
    epochs = {"save_strategy": "epoch", "eval_strategy": "epoch", "save_only_model": True}

    def tell(trainer):
        trainer.add_callback(At(step, lambda: signal.raise_signal(number)))

    assert run("told", prepare=tell, **epochs) == 128 + number
    assert last_checkpoint(tmp_path / "told").name == f"checkpoint-{step}"
    assert run("told", resume="last", **epochs) == 0
    assert_same_end("told", **epochs)


def test_who_stops_says_where_it_goes_on(trainer_for, tmp_path, caplog):
    trainer = trainer_for(**RUN)
    stopper = SaveBeforeStopping()
    trainer.add_callback(stopper)
    trainer.add_callback(At(1, lambda: signal.raise_signal(signal.SIGTERM)))
    trainer.callback_handler.callbacks.reverse()  # the signal comes before the stopper looks
    with pytest.raises(RunStopped) as stopped, stopper.listening():
        trainer.train()
    assert stopped.value.code == 143
    assert stopped.value.checkpoint == tmp_path / "run" / "checkpoint-1"
    assert "the same command with --resume_from_checkpoint last goes on" in caplog.text
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_second_ctrl_c_stops_at_once():
    with pytest.raises(KeyboardInterrupt), SaveBeforeStopping().listening():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_a_signal_after_the_last_step_ends_the_program_as_ever():
    def work():
        with SaveBeforeStopping().listening():
            signal.raise_signal(signal.SIGTERM)

    assert outcome(work) == -signal.SIGTERM


def arguments(tmp_path, checkpoint) -> TwoMNERTrainingArguments:
    return TwoMNERTrainingArguments(
        output_dir=str(tmp_path / "run"),
        use_cpu=True,
        resume_from_checkpoint=str(checkpoint),
        load_best_model_at_end=False,
    )


def test_a_checkpoint_without_its_optimizer_is_refused(trainer_for, tmp_path):
    trainer_for(**RUN | {"max_steps": 2, "save_only_model": True}).train()
    message = (
        r"checkpoint-2 lacks optimizer.pt, scheduler.pt, rng_state.pth.*save_only_model: false"
    )
    for wish in ("last", tmp_path / "run" / "checkpoint-2"):
        with pytest.raises(RecipeError, match=message):
            checkpoint_to_resume(arguments(tmp_path, wish))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="checkpoint-9 is no folder"):
        checkpoint_to_resume(arguments(tmp_path, tmp_path / "checkpoint-9"))


def test_without_a_checkpoint_last_is_the_beginning(tmp_path, caplog):
    assert checkpoint_to_resume(arguments(tmp_path, "last")) is None
    assert "training starts from the beginning" in caplog.text


def test_another_number_of_processes_is_said(trainer_for, tmp_path, caplog):
    trainer_for(**RUN | {"max_steps": 2}).train()
    checkpoint = tmp_path / "run" / "checkpoint-2"
    checkpoint.joinpath("rng_state.pth").rename(checkpoint / "rng_state_0.pth")
    checkpoint.joinpath("rng_state_1.pth").touch()
    assert checkpoint_to_resume(arguments(tmp_path, "last")) == str(checkpoint)
    assert "was written by 2 process(es), now there are 1" in caplog.text


# Runs that have ended -----------------------------------------------------------------------------

STEPS = {"max_steps": 5, "save_steps": 5, "eval_steps": 5, "lr_scheduler_type": "constant"}
"""Five steps end within the second epoch of three."""


def test_a_finished_run_that_is_resumed_makes_no_further_step(run, tmp_path):
    assert run("whole", **STEPS) == 0
    before = weights(tmp_path / "whole")
    for _ in range(2):
        assert run("whole", resume="last", **STEPS) == 0
        assert weights(tmp_path / "whole") == before
        assert last_checkpoint(tmp_path / "whole").name == "checkpoint-5"


def test_a_finished_run_goes_on_where_more_steps_are_asked_for(run, tmp_path):
    assert run("longer", **STEPS) == 0
    more = STEPS | {"max_steps": 7}
    assert run("longer", resume="last", **more) == 0
    assert last_checkpoint(tmp_path / "longer").name == "checkpoint-7"


def stops_early(trainer) -> None:
    trainer.add_callback(EarlyStoppingCallback(1))


EARLY = {
    "metric_for_best_model": "f1_both_views",
    "load_best_model_at_end": True,
    "learning_rate": 0.0,  # no evaluation is better than the first one
    "save_steps": 2,
    "eval_steps": 2,
}


def test_a_run_that_stopped_early_makes_no_further_step_when_it_is_resumed(run, tmp_path):
    assert run("early", prepare=stops_early, **EARLY) == 0
    history = json.loads((tmp_path / "early" / "history.json").read_text())
    assert last_checkpoint(tmp_path / "early").name == "checkpoint-4"
    assert run("early", resume="last", prepare=stops_early, **EARLY) == 0
    assert last_checkpoint(tmp_path / "early").name == "checkpoint-4"
    assert json.loads((tmp_path / "early" / "history.json").read_text()) == history


def test_a_run_told_to_stop_in_its_last_step_is_evaluated_before_it_is_saved(
    run, assert_same_end, tmp_path
):
    """The last step ends no epoch; the evaluation at the end of the last epoch comes after it."""
    epochs = STEPS | {"eval_strategy": "epoch", "save_strategy": "epoch"}

    def told(trainer):
        trainer.add_callback(At(5, lambda: os.kill(os.getpid(), signal.SIGTERM)))

    assert run("told", prepare=told, **epochs) == 128 + signal.SIGTERM
    assert run("told", resume="last", **epochs) == 0
    assert_same_end("told", **epochs)
