"""What a target may be, and what is said when it is not that."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from torch import nn

from lrtool.errors import LrtoolError, UsageError, WorkloadError
from lrtool.examples import BUNDLED
from lrtool.workload.target import Factory, from_callable, load
from lrtool.workload.workload import Workload

CPU = torch.device("cpu")
Written = Callable[..., Path]

TRAINING = """
import torch
from torch import nn

def training(**more):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [torch.ones(4, 2)] * 3
    return dict(model=model, optimizer=optimizer, train_loader=batches, loss=lambda m, b: m(b).mean()) | more

"""


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a user's file, and give its path: `written("def build(): ...", "folder/model.py")`."""

    def write(code: str, name: str = "model.py") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(code))
        return file

    return write


@pytest.fixture
def model_file(written: Written) -> Written:
    """Write a user's file in which `training()` makes a workload that is sound."""

    def write(code: str, name: str = "model.py") -> Path:
        return written(TRAINING + dedent(code), name)

    return write


def built(target: str | Path, params: Mapping[str, Any] | None = None, *, seed: int = 0) -> Workload:
    return load(str(target), params=params).build(seed=seed, device=CPU)


def refusal(kind: type[LrtoolError], call: Callable[[], Any]) -> LrtoolError:
    with pytest.raises(LrtoolError) as refused:
        call()
    assert type(refused.value) is kind, refused.value
    assert refused.value.exit_code == {UsageError: 2, WorkloadError: 3}[kind]
    return refused.value


def misused(target: str | Path, params: Mapping[str, Any] | None = None) -> LrtoolError:
    return refusal(UsageError, lambda: built(target, params))


def failed(target: str | Path, params: Mapping[str, Any] | None = None) -> LrtoolError:
    return refusal(WorkloadError, lambda: built(target, params))


# --- finding it -------------------------------------------------------------------------------------------------------


def test_a_file_means_its_build_function(workload_file: Callable[[str], Path]) -> None:
    assert isinstance(built(workload_file("good")), Workload)


def test_a_file_is_found_from_where_one_stands(model_file: Written) -> None:
    model_file("build = training", "inner/model.py")
    assert isinstance(built("inner/model.py"), Workload)


def test_another_function_is_named_after_a_colon(model_file: Written) -> None:
    file = model_file("def other(): return training(accumulate=3)")
    assert built(f"{file}:other").accumulate == 3


def test_a_function_may_be_a_class_attribute(model_file: Written) -> None:
    file = model_file("class Setups:\n    small = staticmethod(training)")
    assert isinstance(built(f"{file}:Setups.small"), Workload)


def test_a_module_is_named_with_dots(model_file: Written) -> None:
    model_file("def other(): return training(accumulate=3)", "package/module.py")
    assert built("package.module:other").accumulate == 3


def test_a_module_in_a_package_may_import_relatively(written: Written, model_file: Written) -> None:
    model_file("", "package2/parts.py")
    written("from .parts import training\nbuild = training\n", "package2/model.py")
    assert isinstance(built("package2.model"), Workload)


def test_a_package_in_this_folder_is_a_module_not_a_directory(model_file: Written) -> None:
    model_file("build = training", "package3/__init__.py")
    assert isinstance(built("package3:build"), Workload)


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_workloads_go_by_name(name: str) -> None:
    assert isinstance(built(name), Workload)


def test_a_file_is_imported_under_its_real_name_and_finds_its_neighbours(
    written: Written, model_file: Written, tmp_path: Path
) -> None:
    written("ANSWER = 42", "deep/neighbour.py")
    file = model_file("import neighbour\nbuild = training", "deep/my_model.py")
    factory = load(str(file))
    assert factory.function.__module__ == "my_model"
    assert sys.path[-1] == str(tmp_path / "deep")
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize("name", ["my-model.py", "model.v2.py", "with space.py"])
def test_a_file_may_have_a_name_that_is_no_identifier(model_file: Written, name: str) -> None:
    assert isinstance(built(model_file("build = training", name)), Workload)


def test_loading_a_target_twice_runs_its_file_once(model_file: Written) -> None:
    file = model_file(
        "import builtins\nbuiltins.runs = getattr(builtins, 'runs', 0) + 1\ndef build(): return training()"
    )
    built(file)
    built(file)
    assert vars(sys.modules["builtins"]).pop("runs") == 1


def test_a_missing_file_is_told_with_its_nearest_neighbour(written: Written) -> None:
    file = written("", "train_model.py")
    error = misused(file.with_name("train_modle.py"))
    assert error.message == f"there is no file {file.with_name('train_modle.py')}"
    assert error.hint == "did you mean 'train_model.py'?"


def test_a_missing_file_in_an_empty_folder(tmp_path: Path) -> None:
    error = misused("model.py")
    assert error.message == "there is no file model.py"
    assert error.hint == f"there are no Python files in {tmp_path}"


def test_a_missing_file_of_a_colon_target_is_told_without_the_function() -> None:
    assert misused("nowhere/model.py:build").message == "there is no file nowhere/model.py"


def test_a_directory_is_refused_with_the_files_in_it(written: Written) -> None:
    file = written("", "project/train.py")
    error = misused(file.parent)
    assert error.message == f"{file.parent} is a directory, not a Python file"
    assert error.hint == "name a file in it: train.py"


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    assert misused(tmp_path).hint == "name a Python file"


@pytest.mark.parametrize("name", ["notes.txt", "model.ipynb", "model"])
def test_a_file_that_is_not_python_is_refused(written: Written, name: str) -> None:
    error = misused(written("", name))
    assert error.message.endswith(f"{name} is not a Python file")
    assert error.hint == "give a file that ends in .py and has a build() function"


def test_a_name_that_is_nothing_is_told_with_the_nearest_bundled_one() -> None:
    error = misused("digitz")
    assert error.message == "'digitz' is neither a file, nor a module, nor a bundled workload"
    assert error.hint == "did you mean 'digits'?"


@pytest.mark.parametrize(
    "target", ["no.such.module:build", "os.nothing:build", "torch.nn.nothing", "a b", "", ":", "..x"]
)
def test_a_module_that_does_not_exist_is_a_usage_error(target: str) -> None:
    assert misused(target).message == f"{target!r} is neither a file, nor a module, nor a bundled workload"


@pytest.mark.parametrize(
    ("name", "found"), [("json.py", json.__file__), ("pytest.py", pytest.__file__), ("time.py", "built into Python")]
)
def test_a_file_with_the_name_of_another_module_is_refused(model_file: Written, name: str, found: str) -> None:
    file = model_file("build = training", name)
    error = misused(file)
    assert error.message == f"{file} has the name of the module {file.stem!r}, which is {found}"
    assert error.hint == "rename the file"


def test_a_file_beside_a_package_of_its_name_is_refused(written: Written, model_file: Written) -> None:
    package = written("", "network/__init__.py")
    file = model_file("build = training", "network.py")
    assert misused(file).message == f"{file} has the name of the module 'network', which is {package}"


def test_a_second_file_of_the_same_name_from_another_folder_is_refused(model_file: Written) -> None:
    first, second = model_file("build = training", "a/model.py"), model_file("build = training", "b/model.py")
    built(first)
    assert misused(second).message == f"{second} has the name of the module 'model', which is {first}"


# --- importing it -----------------------------------------------------------------------------------------------------


def test_a_failing_import_inside_is_told_from_a_missing_file(written: Written) -> None:
    file = written("import no_such_package.part\n\ndef build(): ...")
    error = failed(file)
    assert error.message == f"importing {file} raised ModuleNotFoundError: No module named 'no_such_package'"
    assert error.hint == "install 'no_such_package' in this environment, or run lrtool from the one that has it"
    assert error.trace == f'  File "{file}", line 1, in <module>\n    import no_such_package.part'


@pytest.mark.parametrize("target", ["package4.module:build", "package4:build"])
def test_a_failing_import_inside_a_package_is_told_from_a_missing_module(written: Written, target: str) -> None:
    written("import no_such_package", "package4/__init__.py")
    written("", "package4/module.py")
    error = failed(target)
    assert error.message == "importing package4 raised ModuleNotFoundError: No module named 'no_such_package'"
    assert error.trace is not None
    assert "package4/__init__.py" in error.trace


def test_a_syntax_error_inside_is_shown_where_it_is(written: Written) -> None:
    file = written("def build(:\n    pass\n")
    error = failed(file)
    assert error.message.startswith(f"importing {file} raised SyntaxError: ")
    assert error.hint == "the file must run under the Python that runs lrtool"
    assert error.trace is not None
    assert error.trace.startswith(f'  File "{file}", line 1\n    def build(:\n')


def test_a_wrong_indentation_is_shown_where_it_is(written: Written) -> None:
    file = written("def build():\n    x = 1\n      y = 2\n")
    error = failed(file)
    assert error.message.startswith(f"importing {file} raised IndentationError: unexpected indent")
    assert error.trace is not None
    assert error.trace.startswith(f'  File "{file}", line 3\n    y = 2')


def test_a_relative_import_in_a_file_hints_at_the_module(written: Written) -> None:
    written("", "package5/__init__.py")
    error = failed(written("from .parts import net", "package5/model.py"))
    assert "raised ImportError: attempted relative import with no known parent package" in error.message
    assert error.hint == "name it as a module instead: package.module:build"


@pytest.mark.parametrize(("call", "code"), [("sys.exit(3)", "3"), ("sys.exit()", "None"), ("exit('bye')", "'bye'")])
def test_sys_exit_at_import_ends_nothing_of_ours(written: Written, call: str, code: str) -> None:
    file = written(f"import sys\n{call}\n")
    error = failed(file)
    assert error.message == f"importing {file} called sys.exit({code})"
    assert error.hint == 'remove the call, or put it under `if __name__ == "__main__":`'
    assert error.trace is not None
    assert error.trace.startswith(f'  File "{file}", line 2, in <module>')


def test_ctrl_c_at_import_comes_through(written: Written) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(str(written("raise KeyboardInterrupt")))


def test_a_file_that_failed_may_be_mended_and_loaded_again(model_file: Written) -> None:
    failed(model_file("1 / 0"))
    assert isinstance(built(model_file("def build(): return training()  # mended, and longer")), Workload)


# --- the function in it -----------------------------------------------------------------------------------------------


def test_no_build_is_told_with_the_nearest_function(model_file: Written) -> None:
    file = model_file("def biuld(): ...")
    error = misused(file)
    assert error.message == f"{file} has no 'build'"
    assert error.hint == f"did you mean 'biuld'? (write {file}:NAME)"


def test_no_build_among_other_functions_lists_these(written: Written) -> None:
    file = written("def make_model(): ...\ndef train(): ...")
    assert misused(file).hint == f"known: make_model, train (write {file}:NAME)"


def test_no_build_and_no_function_at_all(written: Written) -> None:
    assert misused(written("from os.path import join\nx = 1")).hint == "define `def build(): ...`"


@pytest.mark.parametrize(("value", "kind"), [("training()", "dict"), ("training()['optimizer']", "SGD"), ("3", "int")])
def test_a_live_object_in_place_of_a_function_is_refused(model_file: Written, value: str, kind: str) -> None:
    file = model_file(f"build = {value}")
    error = failed(file)
    assert error.message == f"build in {file} is not a function but an object ({kind})"
    assert error.hint == "make it a factory, so that every trial starts afresh: `def build(): return ...`"


def test_a_live_model_in_place_of_a_function_is_refused(model_file: Written) -> None:
    file = model_file("net = nn.Linear(2, 1)")
    assert failed(f"{file}:net").message == f"net in {file} is not a function but an object (Linear)"


def test_a_module_class_is_told_what_it_lacks(model_file: Written) -> None:
    file = model_file("class Net(nn.Module): ...")
    error = failed(f"{file}:Net")
    assert error.message == "Net is an nn.Module class: an optimizer, a train_loader and a loss are missing"
    assert error.hint.startswith("write `def build(): return {")


# --- its arguments ----------------------------------------------------------------------------------------------------


def test_a_required_argument_must_be_given(model_file: Written) -> None:
    file = model_file("def build(width): return training()")
    error = misused(file)
    assert error.message == "build() requires the argument 'width'"
    assert error.hint == "give it with --param width=VALUE, or a default in the file"
    assert isinstance(built(file, {"width": "3"}), Workload)


def test_an_unknown_argument_is_told_with_the_nearest_one(model_file: Written) -> None:
    error = misused(model_file("def build(batch_size=4): return training()"), {"batchsize": "8"})
    assert error.message == "build() has no argument 'batchsize'"
    assert error.hint == "did you mean 'batch_size'?"


def test_an_argument_for_a_function_without_any(model_file: Written) -> None:
    assert misused(model_file("build = lambda: training()"), {"x": "1"}).hint == "build() takes no arguments"


def test_a_function_that_takes_any_argument_gets_them_all(model_file: Written) -> None:
    assert built(model_file("def build(**more): return training(**more)"), {"accumulate": "2"}).accumulate == 2


def given(declared: str, text: Any) -> Any:
    """What `def build(x...)` gets for `--param x=text`."""
    names: dict[str, Any] = {}
    exec(f"def build({declared}): ...", names)
    return from_callable(names["build"], params={"x": text}).params["x"]


@pytest.mark.parametrize(
    ("declared", "text", "value"),
    [
        ("x=1", "128", 128),
        ("x: int", "128", 128),
        ("x: int = 1", "1e3", 1000),
        ("x=1", "0.5", 0.5),
        ("x=0.1", "1e-3", 1e-3),
        ("x: float", "3", 3.0),
        ("x: 'float' = 1", "3", 3.0),
        ("x: float = 0.1", "inf", float("inf")),
        ("x=True", "false", False),
        ("x: bool", "yes", True),
        ("x=False", "1", True),
        ("x=True", "off", False),
        ("x='sgd'", "adam", "adam"),
        ("x='1'", "2", "2"),
        ("x: str", "007", "007"),
        ("x: str | None = None", "true", "true"),
        ("x: 'str | None' = None", "12", "12"),
        ("x: int | None = None", "12", 12),
        ("x: int | None = 3", "none", None),
        ("x=3", "None", None),
        ("x=None", "adam", "adam"),
        ("x", "0.5", 0.5),
        ("x", "true", True),
        ("x=(1, 2)", "(3, 4)", (3, 4)),
        ("x=(1, 2)", "[3, 4]", [3, 4]),
        ("x", "a=b", "a=b"),
        ("x", "", ""),
        ("**all", "5", 5),
        ("x: int = 1", 7, 7),
        ("x='a'", 7, 7),
    ],
)
def test_a_param_becomes_what_its_argument_shows(declared: str, text: Any, value: Any) -> None:
    converted = given(declared, text)
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("declared", "text", "wanted"),
    [
        ("x: int = 1", "many", "a whole number"),
        ("x: int = 1", "0.5", "a whole number"),
        ("x=64", "big", "a number"),
        ("x=0.1", "fast", "a number"),
        ("x: float", "true", "a number"),
        ("x=True", "maybe", "true or false"),
        ("x: bool", "2", "true or false"),
    ],
)
def test_a_param_that_cannot_be_what_its_argument_shows_is_refused(declared: str, text: str, wanted: str) -> None:
    error = refusal(UsageError, lambda: given(declared, text))
    assert error.message == f"build() needs {wanted} for 'x', not {text!r}"
    assert error.hint == "write it as --param x=VALUE"


def test_device_and_seed_are_passed_where_they_are_declared() -> None:
    seen: dict[str, Any] = {}

    def build(seed: int, device: torch.device, other: int = 3) -> Workload:
        seen.update(seed=seed, device=device, other=other)
        return sound()

    from_callable(build, params={}).build(seed=5, device=CPU)
    assert seen == {"seed": 5, "device": CPU, "other": 3}


def test_a_given_seed_goes_before_ours() -> None:
    seen = []

    def build(seed: int = 1) -> Workload:
        seen.append(seed)
        return sound()

    from_callable(build, params={"seed": 9}).build(seed=5, device=CPU)
    assert seen == [9]


# --- what it returns --------------------------------------------------------------------------------------------------


def sound(**options: Any) -> Workload:
    model = options.setdefault("model", nn.Linear(2, 1))
    options.setdefault("optimizer", torch.optim.SGD(model.parameters(), lr=0.1))
    options.setdefault("train_loader", [torch.ones(4, 2)] * 3)
    options.setdefault("loss", lambda m, b: m(b).mean())
    return Workload(**options)


def weights(workload: Workload) -> list[float]:
    return [value for parameter in workload.model.parameters() for value in parameter.flatten().tolist()]


def returning(value: Any) -> LrtoolError:
    return refusal(WorkloadError, lambda: Factory(name="build()", function=lambda: value).build(seed=0, device=CPU))


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(workload_file: Callable[[str], Path]) -> None:
    file = workload_file("good")
    assert weights(built(file, seed=1)) == weights(built(file, seed=1)) != weights(built(file, seed=2))


def test_each_build_is_a_fresh_workload(workload_file: Callable[[str], Path]) -> None:
    factory = load(str(workload_file("good")))
    first, second = factory.build(seed=0, device=CPU), factory.build(seed=0, device=CPU)
    assert first.model is not second.model


def test_a_typed_workload_is_taken_as_it_is() -> None:
    workload = sound()
    assert from_callable(lambda: workload, params={}).build(seed=0, device=CPU) is workload


def test_keys_that_are_none_are_as_if_absent(model_file: Written) -> None:
    workload = built(model_file("def build(): return training(accumulate=None, clip_norm=None, scheduler=None)"))
    assert (workload.accumulate, workload.clip_norm, workload.scheduler) == (1, None, None)


def test_a_wrong_key_is_told_with_the_nearest_one(model_file: Written) -> None:
    error = failed(model_file("def build(): return training(trainloader=[])"))
    assert error.message == "build() returned the unknown key 'trainloader'"
    assert error.hint == "did you mean 'train_loader'?"


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        (["model"], "build() returned no model"),
        (["optimizer", "train_loader"], "build() returned no optimizer and no train_loader"),
    ],
)
def test_missing_keys_are_named(absent: list[str], message: str) -> None:
    workload = sound()
    error = returning({k: getattr(workload, k) for k in ("model", "optimizer", "train_loader") if k not in absent})
    assert error.message == message
    assert error.hint == "build() must return a dict with model, optimizer, train_loader and loss"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "build() returned None: is its `return` missing?"),
        ((nn.Linear(1, 1), None), "build() returned an object (tuple), which is no workload"),
        (3, "build() returned an object (int), which is no workload"),
    ],
)
def test_what_is_no_workload_is_refused(value: Any, message: str) -> None:
    error = returning(value)
    assert error.message == message
    assert error.hint == "build() must return a dict with model, optimizer, train_loader and loss"


def test_a_bare_model_is_told_what_it_lacks() -> None:
    error = returning(nn.Linear(1, 1))
    assert error.message == (
        "build() returned a bare nn.Module (Linear): an optimizer, a train_loader and a loss are missing"
    )
    assert error.hint.startswith("write `def build(): return {")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model", "resnet", "model must be an nn.Module, not 'resnet'"),
        ("model", nn.Linear, "model must be an nn.Module, not the class Linear"),
        ("optimizer", torch.optim.SGD, "optimizer must be a torch.optim.Optimizer, not the class SGD"),
        ("train_loader", 3, "train_loader must be a DataLoader or another iterable of batches, not 3"),
        ("loss", "mse", "loss must be a function, not 'mse'"),
        ("step", {}, "step must be a function, not a dict"),
        ("scheduler", object(), "scheduler must be an LR scheduler (with a step method), not an object"),
        ("accumulate", 0, "accumulate must be a whole number of micro-batches, 1 or more, not 0"),
        ("accumulate", True, "accumulate must be a whole number of micro-batches, 1 or more, not True"),
        ("accumulate", 2.0, "accumulate must be a whole number of micro-batches, 1 or more, not 2.0"),
        ("clip_norm", -1.0, "clip_norm must be a positive number, not -1.0"),
        ("clip_norm", float("nan"), "clip_norm must be a positive number, not nan"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(key: str, value: Any, message: str) -> None:
    workload = sound()
    parts = {name: getattr(workload, name) for name in ("model", "optimizer", "train_loader", "loss")}
    assert returning(parts | {key: value}).message == message


def test_an_unknown_precision_is_told_with_the_nearest_one() -> None:
    error = refusal(WorkloadError, lambda: sound(precision="bf-16"))
    assert error.message == "precision 'bf-16' is unknown"
    assert error.hint == "did you mean 'bf16'?"


def test_an_optimizer_without_trainable_parameters_is_refused() -> None:
    error = refusal(WorkloadError, lambda: sound(model=nn.Linear(1, 1).requires_grad_(False)))
    assert error.message == "the optimizer has no trainable parameters"
    assert "unfreeze some" in error.hint


def test_an_optimizer_of_another_model_is_refused() -> None:
    other = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    error = refusal(WorkloadError, lambda: sound(optimizer=other))
    assert error.message == "the optimizer holds none of the model's parameters"


def test_lbfgs_needs_a_step_of_its_own() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.LBFGS(model.parameters())
    error = refusal(WorkloadError, lambda: sound(model=model, optimizer=optimizer))
    assert error.message == "LBFGS evaluates the loss several times a step"
    assert isinstance(sound(model=model, optimizer=optimizer, step=lambda model: 0.0), Workload)


# --- what it raises ---------------------------------------------------------------------------------------------------


def test_an_exception_in_build_carries_the_users_frames_alone(written: Written) -> None:
    file = written(
        """\
        import torch

        def layers():
            return torch.nn.functional.softmax("text", dim=0)

        def build():
            return layers()
        """
    )
    error = failed(file)
    assert error.message.startswith("build() raised AttributeError: ")
    assert error.hint == "this comes from the user's code, not from lrtool; -vv shows the whole traceback"
    assert error.trace is not None
    assert [line for line in error.trace.splitlines() if "File" in line] == [
        f'  File "{file}", line 7, in build',
        f'  File "{file}", line 4, in layers',
    ]
    assert isinstance(error.__cause__, AttributeError)


def test_the_frames_of_a_neighbouring_file_are_the_users_too(written: Written) -> None:
    helper = written("def fail(): raise ValueError", "helper_of_model.py")
    error = failed(written("import helper_of_model\ndef build(): return helper_of_model.fail()"))
    assert error.message == "build() raised ValueError"
    assert error.trace is not None
    assert str(helper) in error.trace


def test_only_the_first_line_of_a_long_message_is_told(written: Written) -> None:
    assert failed(written("def build(): raise ValueError('one\\ntwo')")).message == "build() raised ValueError: one"


def test_the_last_frames_of_a_deep_recursion_are_enough(written: Written) -> None:
    error = failed(written("def build(): return build()"))
    assert error.message.startswith("build() raised RecursionError")
    assert error.trace is not None
    assert error.trace.count("File") <= 8


def test_sys_exit_in_build_ends_nothing_of_ours(written: Written) -> None:
    error = failed(written("import sys\ndef build(): sys.exit(1)"))
    assert error.message == "build() called sys.exit(1)"


def test_a_model_without_parameters_is_told_so(model_file: Written) -> None:
    error = failed(model_file("def build(): return training(optimizer=torch.optim.SGD([], lr=0.1))"))
    assert error.message == "build() raised ValueError: optimizer got an empty parameter list"
    assert error.hint == "the model has no parameters: give the optimizer something to train"


def test_running_out_of_memory_hints_at_the_batch_size(written: Written) -> None:
    error = failed(written("import torch\ndef build(): torch.empty(2**50)"))
    assert "make the batches smaller" in error.hint


def test_ctrl_c_in_build_comes_through(written: Written) -> None:
    with pytest.raises(KeyboardInterrupt):
        built(written("def build(): raise KeyboardInterrupt"))
