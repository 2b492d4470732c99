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
    # Honesty
    Planted(
        "validation pictures that are copies of test pictures do not count",
        "runs/tables.py",
        'if row[2] != "test"]\n    if read_object',
        'if row[2] == "train"]\n    if read_object',
        ("runs/test_run.py::test_test_pictures_that_were_trained_on_are_named",),
    ),
    Planted(
        "near-copies among other test pictures are named",
        "runs/basis.py",
        "same = record.test == test_set.fingerprint",
        "same = True",
        (
            "runs/test_basis.py"
            "::test_where_near_copies_were_not_searched_for_no_place_says_that_it_never_saw_the_pictures",
        ),
    ),
    Planted(
        "a prediction depends on the pictures beside it",
        "classifier.py",
        "with evaluation_mode(self.network), fast_path(), torch.inference_mode():",
        "with fast_path(), torch.inference_mode():",
        ("test_classifier.py::test_a_picture_gets_the_same_bytes_at_every_position_and_with_any_neighbours",),
    ),
    Planted(
        "judging an epoch moves the statistics of batch norm",
        "training/loop.py",
        "with evaluation_mode(network), fast_path(), torch.inference_mode():",
        "with fast_path(), torch.inference_mode():",
        ("training/test_loop.py::test_judging_is_the_mean_cross_entropy_and_the_share_recognised",),
    ),
    Planted(
        "features are normalised by validation pictures",
        "training/transfer.py",
        "    head.fit_normalization(learned)\n",
        "    head.fit_normalization(store.features(network, validation_set or train_set))\n",
        ("training/test_transfer.py::test_the_last_layer_learns_and_the_backbone_stays_as_published",),
    ),
    Planted(
        "the temperature of a fold is fitted on the fold",
        "runs/calibrate.py",
        "fit_temperature(logits[folds != fold], labels[folds != fold])",
        "fit_temperature(logits[folds == fold], labels[folds == fold])",
        ("runs/test_calibrate.py::test_each_fold_is_judged_at_the_temperature_of_the_others",),
    ),
    Planted(
        "the temperature is fitted on pictures that were learned from",
        "runs/session.py",
        "    logits = state.logits if again else _logits(session, first)\n",
        "    first = first if again else session.stage.train\n"
        "    logits = state.logits if again else _logits(session, first)\n",
        ("runs/test_calibrate.py::test_a_run_keeps_its_temperature_and_answers_by_it",),
    ),
    Planted(
        "classes in another order are not matched by name",
        "evaluation/evaluation.py",
        "        renumbered[dataset.labels],\n",
        "        dataset.labels,\n",
        ("evaluation/test_evaluation.py::test_evaluating_is_predicting_with_labels_matched_by_name",),
    ),
    Planted(
        "labels in another order are not matched by name",
        "evaluation/evaluation.py",
        "labels[:, renumbered] = dataset.labels",
        "labels[:, : len(renumbered)] = dataset.labels",
        (
            "evaluation/test_multi_label.py"
            "::test_a_classifier_of_several_labels_judges_pictures_labelled_so_alone",
        ),
    ),
    Planted(
        "one class too many is looked at for the label",
        "evaluation/evaluation.py",
        "self.label_rank < k)",
        "self.label_rank <= k)",
        (
            "evaluation/test_evaluation.py"
            "::test_the_label_is_among_the_likeliest_as_often_as_scikit_learn_counts",
        ),
    ),
    Planted(
        "both ways to a threshold have all of the doubt",
        "evaluation/selective.py",
        "DOUBT / len(SPARED), None",
        "DOUBT, None",
        ("evaluation/test_selective.py::test_what_the_pictures_cannot_show_is_not_promised",),
    ),
    Planted(
        "a paired test is one-sided",
        "evaluation/chance.py",
        "2 * binom.cdf(",
        "binom.cdf(",
        ("evaluation/test_chance.py::test_paired_tests_are_scipys_exact_ones",),
    ),
    Planted(
        "simple cues learn from the pictures that they are judged by",
        "evaluation/shortcuts.py",
        "splits.train.subset(train), splits.test.subset(test)",
        "splits.test.subset(test), splits.test.subset(test)",
        (
            "evaluation/test_shortcuts.py"
            "::test_a_planted_border_pixel_is_found_and_plain_noise_is_not_warned_of",
        ),
    ),
    Planted(
        "numbers out of bounds are believed",
        "records.py",
        "        if all(mark.fits(found) for mark in marks):",
        "        if all(mark for mark in marks):",
        ("evaluation/test_facts.py::test_numbers_out_of_bounds_or_that_do_not_add_up_are_named",),
    ),
    # Explanation
    Planted(
        "maps that may be the same for random weights pass",
        "explanation/outcomes.py",
        'return "passed" if self.high <= limit else "undecided"',
        'return "passed" if self.mean <= limit else "undecided"',
        (
            "explanation/test_outcomes.py"
            "::test_a_method_that_shows_the_same_for_other_weights_classes_or_signs_fails",
        ),
    ),
    Planted(
        "the evidence of occlusion has the other sign",
        "explanation/attribution.py",
        "fall = uncovered - score(",
        "fall = -uncovered + score(",
        ("explanation/test_attribution.py::test_occlusion_equals_captums",),
    ),
    # Same seed, same bytes
    Planted(
        "the first weights are the same for every seed",
        "runs/fit.py",
        "return build(recipe.model, *shape, seed=recipe.seed,",
        "return build(recipe.model, *shape, seed=0,",
        ("runs/test_initial.py::test_it_is_drawn_again_by_the_seed_of_the_run",),
    ),
    Planted(
        "dropout draws the same in every step",
        "training/loop.py",
        "with seeded_random_numbers(recipe.seed, progress.epoch, progress.step):",
        "with seeded_random_numbers(recipe.seed, progress.epoch, 0):",
        ("training/test_loop.py::test_dropout_draws_anew_at_every_step_of_every_epoch",),
    ),
    Planted(
        "the order of pictures is that of the file system",
        "data/sources/tree.py",
        "for file in sorted(visible, key=natural_key)}",
        "for file in visible}",
        ("data/sources/test_tree.py::test_the_order_is_not_that_of_the_file_system",),
    ),
    # From a file to the network
    Planted(
        "predict reads sixteen bits otherwise than training",
        "data/preprocess.py",
        "decode_image(picture, self.background, white=self.white, name=name)",
        "decode_image(picture, self.background, name=name)",
        (
            "data/test_preprocess.py"
            "::test_sixteen_bits_are_the_same_tensor_alone_in_a_process_of_its_own_and_opened",
        ),
    ),
    Planted(
        "a pixel of sixteen bits counts as one of eight",
        "decode/images.py",
        '"I;16": 2',
        '"I;16": 1',
        ("decode/test_images.py::test_a_pixel_of_sixteen_bits_counts_twice",),
    ),
    Planted(
        "an object cut out of a picture that was turned lies on its side",
        "decode/boxes.py",
        "        image = image.transpose(stored.turn)\n",
        "        pass\n",
        ("decode/test_boxes.py::test_a_box_is_where_it_was_drawn_upright_or_as_stored",),
    ),
    Planted(
        "an archive may fill memory bit by bit",
        "data/sources/archives.py",
        "is_bomb(offset + size, packed)",
        "is_bomb(size, packed)",
        ("data/sources/test_archives.py::test_nor_is_one_that_fills_it_bit_by_bit",),
    ),
    Planted(
        "one member under two spellings is read twice",
        "data/sources/archives.py",
        "(normalized := _normalized(name)) in seen",
        "(normalized := name) in seen",
        ("data/sources/test_archives.py::test_two_members_of_one_name_links_and_cuts_are_told",),
    ),
    Planted(
        "weights are not compared with their SHA-256",
        "classifier.py",
        "if hashlib.sha256(content).hexdigest() != sha256:",
        "if not sha256:",
        ("test_classifier.py::test_weights_of_another_run_are_refused",),
    ),
    # Exit codes
    Planted(
        "a limit is kept where no test picture is left",
        "cli/evaluate.py",
        "    elif limits:\n",
        "    elif limits and clean:\n",
        ("cli/test_evaluate.py::test_where_every_test_picture_was_learned_from_no_limit_is_kept",),
    ),
    Planted(
        "a limit that is not kept ends with 0",
        "cli/output.py",
        "        failed = [gate for gate in gates if not gate.passed]\n",
        "        failed = [gate for gate in gates if gate.passed is None]\n",
        ("cli/test_evaluate.py::test_a_limit_that_is_not_kept_exits_with_three_and_says_what_was_found",),
    ),
    Planted(
        "unreadable pictures among others end with 0",
        "cli/predict.py",
        "            failed = True\n",
        "            failed = not rows\n",
        ("cli/test_predict.py::test_wrong_pictures_are_named_and_the_others_answered",),
    ),
    # Escaping
    Planted(
        "a policy allows every script where a page has none",
        "policy.py",
        "or \"'none'\"",
        "or \"'unsafe-inline'\"",
        ("test_policy.py::test_a_page_without_scripts_allows_none",),
    ),
    Planted(
        "a label is markup in a notebook",
        "evaluation/multi_label.py",
        "<td>{escape(each.name)}</td>",
        "<td>{each.name}</td>",
        ("evaluation/test_multi_label.py::test_a_notebook_shows_labels_as_text",),
    ),
    Planted(
        "a folder is markup in a notebook",
        "runs/run.py",
        "<b>{escape(str(self.folder))}</b>",
        "<b>{self.folder}</b>",
        ("runs/test_run.py::test_an_opened_run_is_the_one_that_was_made",),
    ),
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
        "a request may take for ever once its head is there",
        "serving/server.py",
        "not self.cycle.response_complete:\n            self._set_deadline(limits.EXCHANGE_SECONDS)",
        "not self.cycle.response_complete:\n            self._set_deadline(None)",
        ("serving/test_server.py::test_a_request_that_is_not_done_in_its_time_is_cut_off",),
    ),
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
