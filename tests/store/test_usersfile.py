"""The progress of a machine, and the rows of its file, without Redis."""

from pathlib import Path

from warmside.store.usersfile import Progress, Reply, SharedUsersFile

JULIET = "juliet@example.org"
OURS, THEIRS = "0123456789abcdef", "fedcba9876543210"


def reply(*events: tuple[str, int, str], again: list[tuple[str, int]] | None = None) -> Reply:
    """Return a reply of Redis without a new row."""
    return Reply("epoch", 7, "token", None, events, [], again or [])


def test_rows_that_others_restore_are_read_again_after_the_reading_in_progress() -> None:
    progress = Progress(epoch="epoch", cursor=1000)
    progress = progress.after(reply(("merged", 200, THEIRS)), OURS)
    assert (progress.again, progress.later) == (399, None)
    progress = progress.after(reply(again=[(JULIET, 700)]), OURS)
    progress = progress.after(reply(("merged", 300, THEIRS), again=[(JULIET, 800)]), OURS)
    progress = progress.after(reply(("merged", 250, THEIRS), again=[(JULIET, 900)]), OURS)
    assert (progress.again, progress.later) == (900, 499)
    progress = progress.after(reply(), OURS)
    assert (progress.again, progress.later) == (499, None)
    assert not progress.after(reply(), OURS).unfinished


def test_rows_that_this_machine_has_restored_or_still_has_to_read_are_not_read_again() -> None:
    progress = Progress(epoch="epoch", cursor=1000)
    assert not progress.after(reply(("merged", 200, OURS), ("merged", 501, THEIRS)), OURS).unfinished


def test_a_second_loss_pushes_all_that_the_first_one_or_it_may_have_lost() -> None:
    progress = Progress(epoch="epoch", cursor=1000).after(reply(("lost", 300, THEIRS)), OURS)
    assert (progress.cursor, progress.low, progress.push) == (601, 601, "")
    progress = progress.after(reply(("lost", 400, THEIRS)), OURS)
    assert (progress.cursor, progress.low, progress.push) == (601, 601, "")
    assert progress.after(reply(("lost", 200, THEIRS)), OURS).low == 401


def test_an_older_row_changes_nothing(tmp_path: Path) -> None:
    file = SharedUsersFile(tmp_path / "users.sqlite")
    file.apply([(JULIET, 13)])
    file.apply([(JULIET, 10), (JULIET, 12)])
    assert not file.exists(JULIET) and file.portion("", 9) == [(JULIET, 13, 0)]


def test_a_step_of_another_process_comes_first(tmp_path: Path) -> None:
    files = [SharedUsersFile(tmp_path / "users.sqlite") for _ in range(2)]
    before = files[0].progress()
    assert files[1].progress() == before and files[0].node == files[1].node
    assert files[0].advance(before, Progress(epoch="epoch"))
    assert not files[1].advance(before, Progress(epoch="other"), [(JULIET, 10)])
    assert files[1].progress().epoch == "epoch" and not files[1].exists(JULIET)
