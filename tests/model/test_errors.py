"""Errors travel between processes whole, and are what a caller would naturally catch."""

import pickle

import pytest

from atomflow import errors

EXAMPLES = [
    errors.UnknownNameError("species", "DMFF", ["DMF", "DME", "water"], mend="see: atomflow list species"),
    errors.BadOptionError("no"),
    errors.BadFileError("a.xyz", "cut"),
    errors.BadStructureError("overlap"),
    errors.ChargeError("DMF", 1, 1, 39),
    errors.MissingBackendError("xtb", "tblite", "pip install 'atomflow[xtb]'"),
    errors.UnsupportedSystemError("xtb", "dication", "--calculator dft"),
    errors.OutputError("out", "in the way"),
    errors.StoreError("store", "is full"),
    errors.SubmissionError("no sbatch"),
    errors.CompositionError("no cell holds it", "Li26La12Zr8O48"),
    errors.CutError("the dipole stays"),
    errors.SelectionError("type 9 finds nothing"),
    errors.TrajectoryError("no cell"),
    errors.MissingParameterError("angle for CT-NM-HC", "DMF, atoms C3-N1-H9", "opls-clp/dmf.yaml", 2),
    errors.AmbiguousParameterError("two fit"),
    errors.UngradedParameterError("only assumed"),
    errors.UnbalancedChargeError("DMF", 0.1, 0, "1 dmf_C +0.67"),
    errors.MissingProgramError("packmol", "pip install packmol"),
    errors.PackingError("too dense"),
    errors.SCFError("GFN2-xTB", "Li+", "the log", "scf.log"),
    errors.RelaxationError("no minimum"),
    errors.LammpsError("Lost atoms", "push.log", "run 100"),
    errors.PushOffError("still 0.9 A apart", 0.9),
    errors.DynamicsError("atoms left the box", "lost-atoms", "settle", "run.log"),
    errors.BusyError("another process works in runs/ppla"),
    errors.GrowthError("no way on"),
    errors.DamagedRecordError("checksum"),
    errors.WorkerLostError("a.step", "killed"),
    errors.SkippedError("b.step", "a.step", RuntimeError("why")),
    errors.BranchesFailedError([errors.CalculationError("one"), errors.CalculationError("two")], 5),
    errors.CalculationError("died"),
]


def leaves(cls):
    below = cls.__subclasses__()
    return [cls] if not below else [leaf for sub in below for leaf in leaves(sub)]


def test_every_leaf_has_an_example():
    ours = {leaf for leaf in leaves(errors.AtomflowError) if leaf.__module__ == "atomflow.errors"}
    assert ours <= {type(error) for error in EXAMPLES}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_travels_between_processes(error):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert repr(back.__dict__) == repr(error.__dict__)  # errors inside errors are equal in what they say


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_exit_code_tells_the_user_s_mistakes_from_failed_calculations(error):
    is_user = isinstance(error, errors.UserError)
    assert is_user != isinstance(error, errors.CalculationError)
    assert error.exit_code == (2 if is_user else 1)
    assert isinstance(error, ValueError if is_user else RuntimeError)


def test_leaves_are_the_built_ins_a_caller_would_catch():
    assert isinstance(EXAMPLES[0], LookupError)
    assert isinstance(EXAMPLES[5], ImportError)
    assert isinstance(EXAMPLES[7], OSError)


def test_near_names_ignore_case():
    error = errors.UnknownNameError("species", "dmff", ["DMF", "TFSI-"])
    assert error.near == ["DMF"]
    assert "did you mean DMF?" in str(error)


@pytest.mark.parametrize(
    ("charge", "multiplicity", "electrons", "words"),
    [(1, 1, 39, "odd number needs an even"), (0, 2, 40, "even number needs an odd"), (9, 1, -1, "asks for -1")],
)
def test_charge_error_tells_what_would_fit(charge, multiplicity, electrons, words):
    assert words in str(errors.ChargeError("X", charge, multiplicity, electrons))


def test_a_kept_log_is_named():
    assert "kept in scf.log" in str(errors.SCFError("m", "s", "log", "scf.log"))
    assert "kept" not in str(errors.SCFError("m", "s"))
