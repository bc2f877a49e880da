"""`params.yaml`: the only place where a setting is read.

Unknown keys, wrong types, ranges and combinations raise `ParamsError`, one sentence that names the
key and the mend.
"""

from pdpipe.params.checks import check_classes, check_digits, check_shares
from pdpipe.params.dialect import spelled
from pdpipe.params.models import (
    FEW_STEPS,
    DataParams,
    EvaluationParams,
    ExtractorParams,
    GuideParams,
    HalveParams,
    OptimizerParams,
    Params,
    ReportParams,
    RungParams,
    RuntimeParams,
    ScheduleParams,
    TeacherParams,
    chain_id,
    chain_params,
)
from pdpipe.params.networks import NetworkParams, UNetParams
from pdpipe.params.reading import (
    dotted,
    environment_runtime,
    parse_params,
    read_params,
    settings_of,
)
from pdpipe.params.reconstruction import (
    CoderParams,
    ReconstructionParams,
    TransferParams,
    models_of,
)
from pdpipe.params.studies import (
    ArmParams,
    DistilledParams,
    StudyParams,
    guide_settings,
    halve_settings,
    read_study,
    teacher_settings,
)

__all__ = [
    "FEW_STEPS",
    "ArmParams",
    "CoderParams",
    "DataParams",
    "DistilledParams",
    "EvaluationParams",
    "ExtractorParams",
    "GuideParams",
    "HalveParams",
    "NetworkParams",
    "OptimizerParams",
    "Params",
    "ReconstructionParams",
    "ReportParams",
    "RungParams",
    "RuntimeParams",
    "ScheduleParams",
    "StudyParams",
    "TeacherParams",
    "TransferParams",
    "UNetParams",
    "chain_id",
    "chain_params",
    "check_classes",
    "check_digits",
    "check_shares",
    "dotted",
    "environment_runtime",
    "guide_settings",
    "halve_settings",
    "models_of",
    "parse_params",
    "read_params",
    "read_study",
    "settings_of",
    "spelled",
    "teacher_settings",
]
