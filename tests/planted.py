"""The planted bugs: each is one changed line of the package, with the tests that must fail for it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Planted:
    """A bug to plant.

    what   it is, in words
    file   of the package, from pellucid/
    old    text that occurs there once
    new    what takes its place
    tests  that must fail, as pytest takes them, from tests/
    """

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


PLANTED = (
    # Saving
    Planted(
        "a file is renamed before it is on the disk",
        "files.py",
        "                os.fsync(file.fileno())\n                if sys",
        "                if sys",
        ("test_files.py::test_content_is_flushed_before_the_rename_and_the_folder_after_it",),
    ),
    Planted(
        "the rename is not flushed",
        "files.py",
        "            _flush_folder(path.parent)\n        finally:",
        "        finally:",
        ("test_files.py::test_content_is_flushed_before_the_rename_and_the_folder_after_it",),
    ),
    Planted(
        "a file is written in place",
        "files.py",
        "        file, temporary = _temporary_beside(path)\n",
        '        file, temporary = path.open("wb"), path\n',
        ("test_files.py::test_any_error_while_writing_leaves_the_old_file_and_passes_on",),
    ),
    Planted(
        "the checkpoint is removed before the model is saved",
        "runs/session.py",
        "        _save(session, ended=ended, finished=True)\n        remove(folder / CHECKPOINT)\n",
        "        remove(folder / CHECKPOINT)\n        _save(session, ended=ended, finished=True)\n",
        ("runs/test_session.py::test_killed_while_the_end_is_saved_a_training_can_be_gone_on_with",),
    ),
    Planted(
        "no checkpoint inside an epoch",
        "runs/session.py",
        "            elif session.timer.due:\n",
        "            elif False:\n",
        (
            "runs/test_checkpoint.py::test_a_training_killed_in_mid_epoch_goes_on_from_there_to_the_same_bytes",
        ),
    ),
    Planted(
        "a checkpoint takes any share of the time",
        "training/timer.py",
        "max(self.seconds, self._cost / MOST_OF_THE_TIME)",
        "self.seconds",
        ("training/test_timer.py::test_writing_checkpoints_takes_one_hundredth_of_the_time_at_most",),
    ),
    Planted(
        "features are lost when the process is killed",
        "training/transfer.py",
        "                if timer.due:\n",
        "                if False:\n",
        ("training/test_transfer.py::test_features_are_kept_every_minute_for_a_process_that_is_killed",),
    ),
    Planted(
        "no checkpoint before the first step",
        "runs/fit.py",
        "    save_checkpoint(session)\n",
        "",
        (
            "runs/test_checkpoint.py::test_weights_of_ones_own_are_those_it_goes_on_from_before_the_first_step",
        ),
    ),
    # One writer
    Planted(
        "several may hold a lock",
        "files.py",
        "fcntl.LOCK_EX |",
        "fcntl.LOCK_SH |",
        ("test_files.py::test_a_claim_is_granted_again_to_its_own_thread_and_to_no_other",),
    ),
    Planted(
        "a lock file that was removed counts",
        "files.py",
        "if os.path.samestat(os.fstat(file.fileno()), path.lstat()):",
        "if path:",
        (
            "test_files.py::test_a_lock_that_its_holder_removes_meanwhile_is_not_taken_for_the_one_that_follows",
        ),
    ),
    Planted(
        "a lock is written into a file of another name",
        "files.py",
        "    if os.fstat(file.fileno()).st_nlink == 1:",
        "    if file:",
        ("test_files.py::test_a_lock_that_leads_elsewhere_changes_nothing_there",),
    ),
    # Resuming
    Planted(
        "a damaged checkpoint is read",
        "runs/checkpoint.py",
        'if _digest(tensors, facts) != facts["sha256"]:',
        "if not facts:",
        ("runs/test_checkpoint.py::test_a_damaged_checkpoint_is_refused",),
    ),
    Planted(
        "the optimizer begins anew",
        "training/loop.py",
        "        optimizers.load_state_dict(progress.optimizer)\n",
        "",
        (
            "training/test_loop.py::test_training_stopped_at_any_step_and_gone_on_with_ends_like_one_never_stopped",
        ),
    ),
    Planted(
        "the epoch begins anew",
        "training/loop.py",
        "torch.split(order, recipe.batch_size)[progress.step :]",
        "torch.split(order, recipe.batch_size)",
        (
            "runs/test_checkpoint.py::test_a_training_killed_in_mid_epoch_goes_on_from_there_to_the_same_bytes",
        ),
    ),
    Planted(
        "another run's checkpoint is taken",
        "runs/fit.py",
        'manifest.get("recipe") != recipe.to_json() or ',
        "",
        ("runs/test_checkpoint.py::test_the_checkpoint_of_another_run_is_refused",),
    ),
    Planted(
        "other kernels go unnoticed",
        "runs/environment.py",
        '"bfloat16", "kernels")',
        '"bfloat16")',
        ("runs/test_environment.py::test_kernels_that_are_off_are_other_arithmetic",),
    ),
    Planted(
        "a second SIGHUP cuts the save off",
        "runs/stopping.py",
        "if number != hang_up and any(",
        "if any(",
        ("runs/test_stopping.py::test_a_terminal_that_is_closed_may_say_so_more_than_once",),
    ),
    # Training
    Planted(
        "augmentation draws the same in every epoch",
        "training/loop.py",
        '"augment", progress.epoch, progress.step',
        '"augment", progress.step',
        ("training/test_loop.py::test_every_step_of_every_epoch_has_draws_of_its_own",),
    ),
    Planted(
        "the worst epoch is kept",
        "training/loop.py",
        "val_loss < progress.best.val_loss",
        "val_loss > progress.best.val_loss",
        ("training/test_loop.py::test_the_best_weights_come_back_though_later_epochs_were_worse",),
    ),
    Planted(
        "a loss that is no number is stepped on",
        "training/loop.py",
        "    if not math.isfinite(value) or not math.isfinite(norm):",
        "    if not math.isfinite(value):",
        ("training/test_loop.py::test_a_gradient_that_is_no_number_stops_before_the_update",),
    ),
    Planted(
        "a damaged kernel is loaded",
        "models/kernels/build.py",
        "        if intact:\n",
        "        if True:\n",
        (
            "models/kernels/test_build.py"
            "::test_a_library_that_is_not_as_it_was_written_is_never_loaded_but_compiled_again",
        ),
    ),
    # Splitting
    Planted(
        "two fifths are held out",
        "data/split_by_content.py",
        "TEST_FRACTION = 0.2",
        "TEST_FRACTION = 0.4",
        ("data/test_split_by_content.py::test_shares_are_about_what_was_asked_for_in_every_class",),
    ),
    Planted(
        "identical pictures are drawn one by one",
        "data/dataset.py",
        "        twins[digest].append(index)\n",
        '        twins[digest + index.to_bytes(4, "little")].append(index)\n',
        ("data/test_dataset.py::test_identical_pictures_stay_on_one_side",),
    ),
    Planted(
        "leaking test pictures count",
        "runs/basis.py",
        "return evaluation.without(self.copies) if self.copies else evaluation",
        "return evaluation",
        ("runs/test_run.py::test_the_score_without_leaking_pictures_is_that_of_the_others",),
    ),
    # Scaling
    Planted(
        "white is not one",
        "inference.py",
        "floats.div_(255)",
        "floats.div_(256)",
        ("test_inference.py::test_pictures_are_scaled_to_one_exactly",),
    ),
    Planted(
        "the last batch is smaller",
        "inference.py",
        "        if count < size:\n",
        "        if count > size:\n",
        ("test_inference.py::test_batches_have_one_shape_and_miss_no_picture",),
    ),
    Planted(
        "pictures stay as the camera was held",
        "decode/images.py",
        "return TRANSPOSE_BY_ORIENTATION.get(image.getexif().get(ORIENTATION, 1))",
        "return None",
        ("decode/test_images.py::test_a_picture_stands_upright_whatever_its_exif_orientation",),
    ),
    # Intervals
    Planted(
        "an interval is too narrow",
        "evaluation/metrics.py",
        "    half = z / (1 + z**2 / count)",
        "    half = 0.9 * z / (1 + z**2 / count)",
        ("evaluation/test_metrics.py::test_the_interval_is_wilsons",),
    ),
    Planted(
        "the better end of an interval decides",
        "evaluation/gates.py",
        'return low >= limit if name.startswith("min")',
        'return high >= limit if name.startswith("min")',
        ("evaluation/test_gates.py::test_the_end_of_the_interval_decides_or_the_score_itself",),
    ),
    # Escaping
    Planted(
        "pages escape nothing",
        "report/templates.py",
        "autoescape=True",
        "autoescape=False",
        ("report/test_templates.py::test_what_is_written_into_a_page_is_text",),
    ),
    Planted(
        "names steer the terminal",
        "formatting.py",
        'c if c == "\\n" or c.isprintable() else',
        "c if c else",
        ("test_formatting.py::test_a_name_cannot_steer_the_terminal",),
    ),
    # Guard
    Planted(
        "any name leads to the server",
        "serving/guard.py",
        "if hosts[0] not in self.hosts:",
        "if not hosts[0]:",
        (
            "serving/test_guard.py"
            "::test_every_combination_of_host_origin_site_method_and_path_is_answered_as_the_table_says",
        ),
    ),
    Planted(
        "any page may ask",
        "serving/guard.py",
        'if headers.get(b"origin", [b"http://" + host]) != [b"http://" + host]:',
        'if headers.get(b"origin") == [b""]:',
        (
            "serving/test_guard.py"
            "::test_every_combination_of_host_origin_site_method_and_path_is_answered_as_the_table_says",
        ),
    ),
    # Limits
    Planted(
        "a head may take minutes",
        "serving/limits.py",
        "HEAD_SECONDS = 5.0",
        "HEAD_SECONDS = 500.0",
        ("serving/test_server.py::test_the_limits_are_those_that_are_promised",),
    ),
    Planted(
        "bodies are held without number",
        "serving/guard.py",
        "if self.held + len(part) > limits.MAX_HELD_BYTES:",
        "if self.held < 0:",
        ("serving/test_guard.py::test_more_bodies_at_once_than_there_is_memory_for_are_told_to_come_again",),
    ),
    Planted(
        "anything but https is fetched",
        "data/known/download.py",
        'if urlsplit(url).scheme != "https":',
        "if not urlsplit(url).scheme:",
        ("data/known/test_download.py::test_nothing_but_https_is_fetched",),
    ),
)
