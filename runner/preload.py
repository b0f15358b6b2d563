"""What the server of worker processes loads before the first is forked: PyTorch, the code that trains, and what code
that is. A worker that is started hours later runs that code, whatever is on the disk by then.
"""

import train  # noqa: F401  (loaded for those that are forked)
from study.environment import code_facts

code_facts()
