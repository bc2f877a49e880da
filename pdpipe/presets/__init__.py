"""Whole params files with the papers' settings: the main one, and that of every study.

`<preset>.yaml` is a params.yaml. The studies of the digits are the repository's own, copied to
`digits/`. Those of the papers' data sets are `templates/`, in which a function for each study fills
students and arms, from the preset's own params.yaml and what `papers` knows of the data set.
"""

from pdpipe.presets.preset import left_out, preset_files, preset_names

__all__ = ["left_out", "preset_files", "preset_names"]
