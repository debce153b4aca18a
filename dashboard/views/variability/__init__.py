"""The views of the Variability page, one a file: each shows itself and returns what it offers for download."""
