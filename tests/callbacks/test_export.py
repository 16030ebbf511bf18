from types import SimpleNamespace

from r1lit.callbacks import HFExport


class Policy:
    """Saves its text."""

    def __init__(self, text):
        self.text = text

    def save_pretrained(self, folder, adapter=False):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights").write_text(f"{self.text}, with its adapter" if adapter else self.text)


def module(text):
    return SimpleNamespace(policy=Policy(text), record={}, noted_by_measuring=False)


def exported(folder):
    path = folder / "model" / "weights"
    return path.read_text() if path.is_file() else None


def test_trained_policy_is_exported_once(tmp_path):
    trainer, export = SimpleNamespace(default_root_dir=tmp_path), HFExport()
    export.on_train_end(trainer, module("trained"))
    export.on_test_end(trainer, module("again"))
    assert exported(tmp_path) == "trained"


def test_policy_that_was_only_measured_replaces_an_older_export(tmp_path):
    trainer = SimpleNamespace(default_root_dir=tmp_path)
    HFExport().on_test_end(trainer, module("old weights"))
    HFExport().on_test_end(trainer, module("new weights"))
    assert exported(tmp_path) == "new weights"


def test_export_of_measured_policies_can_be_turned_off(tmp_path):
    HFExport(when_tested=False).on_test_end(SimpleNamespace(default_root_dir=tmp_path), module("x"))
    assert exported(tmp_path) is None


def test_an_adapter_may_go_along(tmp_path):
    HFExport(adapter=True).on_train_end(SimpleNamespace(default_root_dir=tmp_path), module("trained"))
    assert exported(tmp_path) == "trained, with its adapter"
