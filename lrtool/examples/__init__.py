"""Bundled workloads on real data, usable as targets by name; a name's target is written as anybody's would be."""

BUNDLED = {
    "digits": "lrtool.examples.digits:build",
    "digits-cnn": "lrtool.examples.digits:build_cnn",
    "char-transformer": "lrtool.examples.char_transformer:build",
    "leaky": "lrtool.examples.leaky:build",
    "variable-length": "lrtool.examples.variable_length:build",
}
DEFAULT_TARGET = "digits"
