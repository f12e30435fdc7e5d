"""A controller that a test kills: applies the functions of a JSON file, with the configuration of another.

python doomed_controller.py CONFIG FUNCTIONS
"""

import asyncio
import sys
from pathlib import Path

import msgspec
from controller_setting import OneRuntime

from lateen.adapters.kubernetes.access import Access
from lateen.adapters.kubernetes.api import KubernetesApi
from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.deployer import KubernetesDeployer
from lateen.ports.deployer import Deployment


async def main() -> None:
    config = FunctionsConfig.read(Path(sys.argv[1]))
    functions = msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=list[Deployment])
    deployer = KubernetesDeployer(KubernetesApi(Access.found()), config, runtimes=OneRuntime())
    for function in functions:
        await deployer.apply(function)
    await deployer.run()


asyncio.run(main())
