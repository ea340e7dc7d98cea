"""Which tests `make quick` leaves out: those of the places named here."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent

SLOW = (
    "campaigns",
    "dataset_mmnerd/test_audit.py",
    "dataset_mmnerd/test_build.py",
    "dataset_mmnerd/test_builder.py",
    "dataset_mmnerd/test_card.py",
    "dataset_mmnerd/test_context_folder.py",
    "dataset_mmnerd/test_extractors.py",
    "dataset_mmnerd/test_generating.py",
    "dataset_mmnerd/test_hub.py",
    "dataset_mmnerd/test_image_lists.py",
    "dataset_mmnerd/test_main.py",
    "dataset_mmnerd/test_push.py",
    "dataset_mmnerd/test_sample.py",
    "dataset_mmnerd/test_shards.py",
    "inference_2mner/test_convert.py",
    "inference_2mner/test_corpus.py",
    "inference_2mner/test_deploying.py",
    "inference_2mner/test_export.py",
    "inference_2mner/test_page.py",
    "inference_2mner/test_page_parts.py",
    "inference_2mner/test_result_page.py",
    "inference_2mner/test_server.py",
    "inference_2mner/test_shrink.py",
    "inference_2mner/test_space.py",
    "inference_2mner/test_spacy_component.py",
    "inference_2mner/test_thresholds.py",
    "inference_2mner/test_viewer.py",
    "metrics/test_mmner.py",
    "modeling_2mner/test_alignment_2mner.py::test_two_processes_give_the_loss_and_gradient_of_one",
    "modeling_2mner/test_crf_2mner.py::test_likelihood_compiles_without_a_graph_break",
    "modeling_2mner/test_handler.py",
    "modeling_2mner/test_modeling_2mner.py::test_it_learns",
    "modeling_2mner/test_modeling_2mner.py::test_the_forward_pass_compiles",
    "modeling_2mner/test_new_labels.py",
    "modeling_2mner/test_pipeline_options_2mner.py",
    "modeling_2mner/test_recursions_2mner.py::test_a_module_with_a_crf_is_exported",
    "modeling_2mner/test_recursions_2mner.py::test_everything_compiles_without_a_graph_break",
    "modeling_2mner/test_remote_code.py",
    "modeling_2mner/test_requirements_2mner.py",
    "modeling_2mner/test_views.py::test_an_image_full_of_text_pushes_no_word_out",
    "modeling_2mner/test_words_2mner.py::test_words_cover_everything_but_the_spaces_in_order",
    "reporting_2mner/test_charts.py",
    "reporting_2mner/test_comparison.py::test_the_command_compares_runs_and_refuses_in_one_line",
    "reporting_2mner/test_html_report.py",
    "reporting_2mner/test_report.py",
    "reporting_2mner/test_study_measures.py",
    "scripts",
    "test_browser.py",
    "test_docs.py::test_fine_tuning",
    "test_examples.py",
    "test_hub_server.py",
    "test_launch.py",
    "test_package.py",
    "test_publishing.py",
    "test_saved_run.py",
    "test_skips.py",
    "test_train.py",
    "training_2mner/test_checkpoints.py",
    "training_2mner/test_distillation.py",
    "training_2mner/test_image_lists.py",
    "training_2mner/test_lora.py",
    "training_2mner/test_new_language.py",
    "training_2mner/test_processes.py",
    "training_2mner/test_push.py",
    "training_2mner/test_study.py",
    "training_2mner/test_study_measures.py",
    "training_2mner/test_trainer.py",
    "training_2mner/test_vision_cache.py",
)
"""Folders, files and tests that take seconds each, alone on one core."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the list."""
    for item in items:
        place = f"{item.path.relative_to(TESTS).as_posix()}::{item.name}"
        if place.startswith(SLOW):
            item.add_marker("slow")
