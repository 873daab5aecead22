"""Packaging of warmside; ``pip install .`` installs it."""

import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = runpy.run_path(str(HERE / "warmside/__init__.py"))["__version__"]
SAMPLES = runpy.run_path(str(HERE / "warmside/samples.py"))["find"](HERE / "etc")


class BuildWithSamples(build_py):
    """Put the samples of ``etc/`` into the wheel, where ``warmside sample`` finds them."""

    def run(self) -> None:
        """Build the packages and add the samples; an editable installation reads ``etc/`` itself."""
        super().run()
        if not self.editable_mode:
            for name, source in SAMPLES.items():
                target = Path(self.build_lib, "warmside/etc", name)
                self.mkpath(str(target.parent))
                self.copy_file(str(source), str(target))


setup(
    name="warmside",
    version=VERSION,
    description="Logs the users of a web application in to ejabberd without knowing their passwords",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="warmside contributors",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Framework :: Twisted",
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
        "warmside.compat",
        "warmside.config",
        "warmside.doctor",
        "warmside.extauth",
        "warmside.httpclient",
        "warmside.sessions",
        "warmside.store",
        "warmside.throttle",
        "warmside.web",
        "twisted.plugins",
    ],
    package_dir={"": "."},
    package_data={"warmside": ["py.typed"]},
    cmdclass={"build_py": BuildWithSamples},
    install_requires=[
        "Twisted[tls]>=24.7",
        "treq>=24.9",
        "wokkel>=18.0.0",
        "prometheus-client>=0.23.1",
        "bcrypt>=4.0",
        "cachetools>=5.3",
        "httptools>=0.6",
        "txredisapi>=1.6.0",
        "hiredis>=3.0",
        "cryptography>=42.0",
        "scramp>=1.4.18",
        "hyperlink>=21.0.0",
        "PyYAML>=6.0.1",
        "idna>=3.0",
        "pyOpenSSL>=24.0",
        "zope.interface>=6.0",
    ],
    extras_require={
        "test": [
            "coverage>=7.10",
            "django>=5.0",
            "flask>=3.0",
            "hypothesis>=6.100",
            "httpx>=0.27",
            "markdown-it-py>=3.0",
            "mypy>=1.11",
            "mypy-zope>=1.0.7",
            "openapi-generator-cli>=7.10",
            "openapi-python-client>=0.26",
            "openapi-spec-validator>=0.7",
            "pydantic>=2.8",
            "pytest>=8.0",
            "pytest-xdist>=3.5",
            "python-dateutil>=2.8",
            "requests>=2.31",
            "ruff>=0.6",
            "schemathesis>=4.0",
            "setuptools>=70.1",
            "selenium>=4.20",
            "slixmpp>=1.17",
            "types-cachetools",
            "types-PyYAML",
            "websocket-client>=1.8",
        ],
    },
    entry_points={"console_scripts": ["warmside = warmside.cli:main"]},
)
