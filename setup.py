"""How warmside is packaged; ``pip install .`` is all that an operator needs."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "warmside/__init__.py").read_text(), re.M)
assert VERSION is not None

setup(
    name="warmside",
    version=VERSION.group(1),
    description="Logs the users of a web application in to ejabberd without knowing their passwords",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    classifiers=[
        "Framework :: Twisted",
        "License :: OSI Approved :: MIT License",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Communications :: Chat",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    # twisted.plugins is a namespace of Twisted's; package_dir lets `pip install -e .` find ours.
    packages=[
        "warmside",
        "warmside.app",
        "warmside.bosh",
        "warmside.config",
        "warmside.extauth",
        "warmside.sessions",
        "warmside.store",
        "warmside.throttle",
        "warmside.web",
        "twisted.plugins",
    ],
    package_dir={"": "."},
    package_data={"warmside": ["py.typed"]},
    install_requires=[
        "Twisted[tls]>=24.7",
        "treq>=24.9",
        "wokkel>=18.0.0",
        "prometheus-client>=0.23.1",
        "bcrypt>=4.0",
        "cryptography>=42.0",
        "scramp>=1.4.18",
        "hyperlink>=21.0.0",
        "pyOpenSSL>=24.0",
        "zope.interface>=6.0",
    ],
    extras_require={
        "test": [
            "coverage>=7.10",
            "django>=5.0",
            "flask>=3.0",
            "hypothesis>=6.100",
            "mypy>=1.11",
            "mypy-zope>=1.0.7",
            "pytest>=8.0",
            "pytest-xdist>=3.5",
            "requests>=2.31",
            "ruff>=0.6",
            "schemathesis>=4.0",
            "selenium>=4.20",
        ],
    },
    entry_points={"console_scripts": ["warmside = warmside.cli:main"]},
)
