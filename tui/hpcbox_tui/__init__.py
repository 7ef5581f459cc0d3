"""The screens of hpcbox: the only package that imports textual."""
