"""Wave fields: simulate them, read their memory back from one snapshot, record them, see them.

The public names are listed in the stub beside this file; what a name needs is loaded when it is first used.
"""

import lazy_loader

from wavefield.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
