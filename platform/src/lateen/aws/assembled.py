"""All operations put together: what every process that serves this API has in common."""

from lateen.aws.account import AccountOperations
from lateen.aws.application import AwsApi, Metrics
from lateen.aws.calls import handlers
from lateen.aws.code_urls import CodeUrls
from lateen.aws.event_configs import EventConfigOperations
from lateen.aws.finding import Finding
from lateen.aws.function_parts import FunctionPartOperations
from lateen.aws.function_urls import FunctionUrlOperations
from lateen.aws.functions import FunctionOperations
from lateen.aws.invoke import InvokeOperations, Invoker
from lateen.aws.layers import LayerOperations
from lateen.aws.policies import PolicyOperations
from lateen.aws.provisioned import ProvisionedOperations
from lateen.aws.revisions import Revisions
from lateen.aws.versions import VersionOperations
from lateen.domain.master import MasterKey
from lateen.ports.objects import Objects
from lateen.services.assembled import Services
from lateen.services.events import Events

OPERATIONS = (
    FunctionOperations,
    FunctionPartOperations,
    InvokeOperations,
    VersionOperations,
    EventConfigOperations,
    ProvisionedOperations,
    FunctionUrlOperations,
    PolicyOperations,
    LayerOperations,
    AccountOperations,
)
"""Classes whose methods are operations; for the table of what is offered."""


def aws_api(
    services: Services,
    *,
    objects: Objects,
    invoker: Invoker,
    events: Events,
    master: MasterKey,
    region: str,
    base_url: str,
    metrics: Metrics,
) -> AwsApi:
    finding = Finding(
        services.functions,
        versions=services.versions,
        aliases=services.aliases,
        runtimes=services.runtimes,
        revisions=Revisions(versions=services.versions, extras=services.extras, policies=services.version_policies),
    )
    sync = services.urls.sync
    code_urls = CodeUrls(objects, master=master)
    parts = (
        FunctionOperations(
            services.functions,
            extras=services.extras,
            runtimes=services.runtimes,
            versions=services.versions,
            finding=finding,
            code_urls=code_urls,
        ),
        FunctionPartOperations(finding, functions=services.functions, extras=services.extras),
        InvokeOperations(
            invoker, finding=finding, invocables=services.invocables, aliases=services.aliases, events=events
        ),
        VersionOperations(finding, versions=services.versions, aliases=services.aliases),
        EventConfigOperations(finding, configs=services.event_configs),
        ProvisionedOperations(finding, provisioned=services.provisioned),
        FunctionUrlOperations(
            sync, extras=services.extras, aliases=services.aliases, finding=finding, base_url=base_url
        ),
        PolicyOperations(
            sync,
            extras=services.extras,
            aliases=services.aliases,
            versions=services.version_policies,
            finding=finding,
        ),
        AccountOperations(services.functions),
        LayerOperations(services.layers, services.layer_policies, code_urls=code_urls),
    )
    return AwsApi(
        handlers(*parts),
        keys=services.keys,
        workspaces=services.workspaces,
        code_urls=code_urls,
        region=region,
        metrics=metrics,
    )
