"""Projects: made by `pdpipe new`, held to a version of the package, and brought to another."""
