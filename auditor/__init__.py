"""How robust is an image classifier really, and can that number be believed?"""

from auditor.reading import Examples, Run, read

__all__ = ["Examples", "Run", "read"]
