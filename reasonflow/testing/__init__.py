"""What implementations from outside must pass: laws that ship with the interfaces. Needs no test framework."""

from reasonflow.testing.backend_laws import BACKEND_LAWS, CLOSING_LAWS, check_backend
from reasonflow.testing.laws import LawBroken

__all__ = ["BACKEND_LAWS", "CLOSING_LAWS", "LawBroken", "check_backend"]
