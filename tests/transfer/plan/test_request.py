"""Remarks on what a command asks for."""

from transfer.plan.request import Request, make_plan


def remarks(row, tmp_path):
    request = Request(
        backbone=str(row),
        tasks=("segmentation",),
        against="auto",
        data="sample",
        data_root=tmp_path,
        protocol="quick",
        weights="auto",
        precision="float32",
        seed=0,
        classifier_seed=0,
    )
    return "\n".join(make_plan(request).remarks)


def test_a_row_without_a_control_and_one_that_is_its_own_are_told_apart(tmp_path, small_sample):
    row = tmp_path / "mine.toml"
    text = 'architecture = "resnet18"\nweights = "timm:resnet18.tv_in1k"\n'
    row.write_text(text, encoding="utf-8")
    assert "'mine' has no control in the zoo, so no gain" in remarks(row, tmp_path)
    row.write_text(f'{text}control = "mine.toml"\n', encoding="utf-8")
    assert "'mine' is its own 'control', so no gain is computed" in remarks(row, tmp_path)
