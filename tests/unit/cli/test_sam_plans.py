"""What of a template is deployed, and how the rest is named. No server: its answers are given."""

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from lateen.cli.buckets import S3Place
from lateen.cli.refusals import Refused
from lateen.cli.sam.functions import FunctionPlan, Runtimes
from lateen.cli.sam.intrinsics import NotYet
from lateen.cli.sam.plans import Plans
from lateen.cli.sam.templates import parameters_of, template_at

ACCOUNT = "123456789012"
ARN = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:"
LAYER = f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer:"
RUNTIMES = [
    {"name": "script3", "aliases": ["script"], "file": "code.sc", "disabled": False, "disabled_reason": None},
    {"name": "compiled1", "aliases": ["c1.x"], "file": "main.c", "disabled": False, "disabled_reason": None},
    {"name": "missing1", "aliases": [], "file": "m", "disabled": True, "disabled_reason": "no compiler"},
]


def plans_of(folder: Path, text: str, **parameters: str) -> Plans:
    (folder / "template.yaml").write_text("Transform: AWS::Serverless-2016-10-31\n" + dedent(text))
    (folder / "src").mkdir(exist_ok=True)
    template = template_at(folder / "template.yaml")
    assert template is not None
    return Plans(
        template,
        parameters=parameters_of(template, parameters),
        runtimes=Runtimes(RUNTIMES),
        region="us-east-1",
        account_id=ACCOUNT,
        stack="stack",
    )


def planned(plans: Plans, resource_id: str = "F") -> FunctionPlan:
    plan = plans.function(resource_id)
    assert plan is not None, plans.failed
    return plan


def test_a_serverless_function(tmp_path: Path) -> None:
    """Every property that there is a counterpart for; globals below them."""
    plans = plans_of(
        tmp_path,
        """
        Parameters:
          Stage: {Type: String, Default: test}
        Globals:
          Function:
            Timeout: 20
            MemorySize: 512
            Layers: [!Sub "arn:aws:lambda:${AWS::Region}:${AWS::AccountId}:layer:base:3"]
            Environment: {Variables: {STAGE: !Ref Stage, BOTH: global}}
        Resources:
          F:
            Type: AWS::Serverless::Function
            Properties:
              FunctionName: !Sub "${Stage}-shop"
              Description: Sells
              CodeUri: src/
              Handler: app.handler
              Runtime: script
              Timeout: 7
              Layers: [!Ref L]
              Environment: {Variables: {BOTH: own, ME: !GetAtt F.Arn, NUMBER: 010}}
              FunctionUrlConfig: {AuthType: NONE}
              AutoPublishAlias: live
              EventInvokeConfig:
                MaximumRetryAttempts: 0
                DestinationConfig: {OnFailure: {Type: Lambda, Destination: !GetAtt F.Alias}}
          L:
            Type: AWS::Serverless::LayerVersion
            Properties: {LayerName: libs, ContentUri: src}
        """,
    )
    plan = planned(plans)
    assert plan.fields == {
        "runtime": "script3",
        "handler": "app.handler",
        "description": "Sells",
        "timeout": 7,
        "memory": 512,
        "environment": {"STAGE": "test", "BOTH": "own", "ME": f"{ARN}test-shop", "NUMBER": "010"},
        "layers": [f"{LAYER}base:3", f"{LAYER}libs:1"],
        "reserved_concurrency": None,
        "auth": "none",
    }
    assert (plan.name, plan.alias, plan.kept, plan.code) == ("test-shop", "live", (), tmp_path / "src")
    assert plan.event_config is not None
    assert plan.event_config.qualifier == "live"
    assert plan.event_config.fields["on_failure"] == f"{ARN}test-shop:live"
    assert plans.left_out == plans.failed == {}
    plans.intrinsics.is_rehearsal = False
    with pytest.raises(NotYet):
        plans.function("F")
    plans.has_layer("L", f"{LAYER}libs:4")
    assert planned(plans).fields["layers"] == [f"{LAYER}base:3", f"{LAYER}libs:4"]


def test_cloudformation_s_own_resources(tmp_path: Path) -> None:
    """Inline code, a URL that a permission opens, a version, an alias that shares calls, settings for events."""
    plans = plans_of(
        tmp_path,
        """
        Resources:
          F:
            Type: AWS::Lambda::Function
            Properties:
              Handler: index.handler
              Runtime: script
              Role: arn:aws:iam::123456789012:role/r
              Code: {ZipFile: "print(1)"}
          U: {Type: AWS::Lambda::Url, Properties: {TargetFunctionArn: !GetAtt F.Arn, AuthType: NONE}}
          P:
            Type: AWS::Lambda::Permission
            Properties:
              {Action: lambda:InvokeFunctionUrl, FunctionName: !Ref F, Principal: "*", FunctionUrlAuthType: NONE}
          Q:
            Type: AWS::Lambda::Permission
            Properties: {Action: lambda:InvokeFunction, FunctionName: !Ref F, Principal: s3.amazonaws.com}
          V: {Type: AWS::Lambda::Version, Properties: {FunctionName: !Ref F, Description: first}}
          A:
            Type: AWS::Lambda::Alias
            Properties:
              Name: live
              FunctionName: !Ref F
              FunctionVersion: !GetAtt V.Version
              RoutingConfig: {AdditionalVersionWeights: [{FunctionVersion: "2", FunctionWeight: 0.25}]}
          E:
            Type: AWS::Lambda::EventInvokeConfig
            Properties: {FunctionName: !Ref F, Qualifier: $LATEST, MaximumEventAgeInSeconds: 60}
        Outputs:
          Url: {Value: !GetAtt U.FunctionUrl}
        """,
    )
    plan = planned(plans)
    assert (plan.code, plan.inline_name, plan.fields["auth"]) == ("print(1)", "index.sc", "none")
    assert plan.fields["role"] == "arn:aws:iam::123456789012:role/r"
    plans.intrinsics.is_rehearsal = False
    ((version_id, version),) = plans.versions()
    assert (version_id, version.function, version.description) == ("V", "F", "first")
    plans.has_version("V", "F", "3")
    plans.has_url("F", "http://localhost/abc")
    (alias,) = plans.aliases()
    assert alias.fields == {"version": "3", "routing": {"2": 0.25}, "description": ""}
    ((name, events),) = plans.event_configs()
    assert (name, events.qualifier, events.fields["maximum_event_age"]) == ("F", None, 60)
    assert plans.outputs() == {"Url": "http://localhost/abc/"}
    assert plans.left_out == {
        "Q": "only a permission that opens a function's URL to everybody has an effect",
    }


def test_a_role_that_the_template_makes(tmp_path: Path) -> None:
    """It is not made, so the function keeps the one that it has."""
    plans = plans_of(
        tmp_path,
        """
        Resources:
          R: {Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {}}}
          F:
            Type: AWS::Lambda::Function
            Properties: {Handler: index.handler, Runtime: script, Role: !GetAtt R.Arn, Code: {ZipFile: "print(1)"}}
        """,
    )
    assert "role" not in planned(plans).fields
    assert "F.Role" in plans.left_out


def test_urls_and_logs(tmp_path: Path) -> None:
    """All that a URL can be told; one that nobody may call is named. How a function logs."""
    plans = plans_of(
        tmp_path,
        """
        Resources:
          F:
            Type: AWS::Serverless::Function
            Properties:
              Runtime: script
              CodeUri: src
              AutoPublishAlias: live
              LoggingConfig: {LogFormat: JSON, ApplicationLogLevel: WARN, LogGroup: mine}
              FunctionUrlConfig:
                AuthType: AWS_IAM
                InvokeMode: RESPONSE_STREAM
                Cors: {AllowOrigins: [!GetAtt U.FunctionUrl], AllowHeaders: ["*"], MaxAge: 9, AllowCredentials: True}
          G: {Type: AWS::Serverless::Function, Properties: {Runtime: script, CodeUri: src}}
          A: {Type: AWS::Lambda::Alias, Properties: {Name: next, FunctionName: !Ref G, FunctionVersion: "1"}}
          U:
            Type: AWS::Lambda::Url
            Properties: {TargetFunctionArn: !Ref G, AuthType: AWS_IAM, Cors: {ExposeHeaders: [x-a]}}
          V: {Type: AWS::Lambda::Url, Properties: {TargetFunctionArn: !Ref G, Qualifier: next, AuthType: NONE}}
          W: {Type: AWS::Lambda::Url, Properties: {TargetFunctionArn: !Ref G, Qualifier: old, AuthType: NONE}}
          P:
            Type: AWS::Lambda::Permission
            Properties: {Action: lambda:InvokeFunctionUrl, FunctionName: !Sub "${G}:next", Principal: "*"}
        """,
    )
    assert planned(plans).fields["auth"] == planned(plans, "G").fields["auth"] == "iam"
    assert planned(plans).fields["logging_config"] == {"log_format": "JSON", "application_log_level": "WARN"}
    plans.intrinsics.is_rehearsal = False
    signed = {"auth_type": "AWS_IAM", "invoke_mode": "BUFFERED", "cors": {"expose_headers": ["x-a"]}}
    open_ = {"auth_type": "NONE", "invoke_mode": "BUFFERED", "cors": None}
    assert planned(plans, "G").urls == {None: signed}
    with pytest.raises(NotYet):
        plans.function("F")
    plans.has_url("G", "https://g")
    assert planned(plans).urls == {
        None: None,
        "live": {
            "auth_type": "AWS_IAM",
            "invoke_mode": "RESPONSE_STREAM",
            "cors": {
                "allow_origins": ["https://g/"],
                "allow_headers": ["*"],
                "max_age": 9,
                "allow_credentials": True,
            },
        },
    }
    assert [(url.function, url.qualifier, url.fields) for url in plans.urls()] == [
        ("G", None, signed),
        ("G", "next", open_),
    ]
    plans.has_url("G", "https://n", "next")
    assert plans.intrinsics.value({"Fn::GetAtt": ["V", "FunctionUrl"]}) == "https://n/"
    assert plans.left_out == {
        "W": "nobody may call it: the template has no AWS::Lambda::Permission that says so",
        "F.LoggingConfig.LogGroup": "logs lie with Lateen",
    }


def test_provisioned_concurrency(tmp_path: Path) -> None:
    """Of an alias that is published to, of versions and aliases; a function without any can have none."""
    plans = plans_of(
        tmp_path,
        """
        Globals: {Function: {Runtime: script, CodeUri: src}}
        Resources:
          F:
            Type: AWS::Serverless::Function
            Properties:
              AutoPublishAlias: live
              ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: 3}
          G:
            Type: AWS::Serverless::Function
            Properties: {ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: 3}}
          V:
            Type: AWS::Lambda::Version
            Properties: {FunctionName: !Ref G, ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: "2"}}
          A:
            Type: AWS::Lambda::Alias
            Properties:
              Name: next
              FunctionName: !Ref G
              FunctionVersion: "1"
              ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: 4}
          B: {Type: AWS::Lambda::Alias, Properties: {Name: old, FunctionName: !Ref G, FunctionVersion: "1"}}
        """,
    )
    assert (planned(plans).provisioned, planned(plans, "G").provisioned) == (3, None)
    assert [version.provisioned for _, version in plans.versions()] == [2]
    assert [alias.provisioned for alias in plans.aliases()] == [4, None]
    assert plans.left_out == {"G.ProvisionedConcurrencyConfig": "only with an AutoPublishAlias, whose it is"}


def test_what_is_not_deployed_is_named(tmp_path: Path) -> None:
    """Each thing once, with the reason; a variable that can't be known keeps the value that it has."""
    plans = plans_of(
        tmp_path,
        """
        Globals:
          Function: {Runtime: script, CodeUri: src, Handler: a.b, Tracing: Active}
        Resources:
          F:
            Type: AWS::Serverless::Function
            Properties:
              Environment: {Variables: {TABLE: !Ref Orders, KEY: !ImportValue key, PLAIN: x, GIVEN: !GetAtt Bus.Arn}}
              ReservedConcurrentExecutions: 5
              Unheard: of
              Events:
                Nightly: {Type: Schedule, Properties: {Schedule: rate(1 day)}}
                Queue: {Type: SQS, Properties: {Queue: !GetAtt Q.Arn}}
                Web: {Type: HttpApi}
          Orders: {Type: AWS::DynamoDB::Table}
          Bus: {Type: AWS::Events::EventBus}
        """,
        **{"Bus.Arn": "arn:bus"},
    )
    plan = planned(plans)
    planned(plans)
    assert plan.fields["environment"] == {"PLAIN": "x", "GIVEN": "arn:bus"}
    assert plan.kept == ("TABLE", "KEY")
    assert plan.fields["reserved_concurrency"] == 5
    assert plan.fields["auth"] == "iam"
    assert plans.left_out == {
        "Orders (AWS::DynamoDB::Table)": "only Lambda's resources are deployed",
        "Bus (AWS::Events::EventBus)": "only Lambda's resources are deployed",
        "F.Environment.Variables.TABLE": "refers to 'Orders' (AWS::DynamoDB::Table), which is not known here; "
        "--parameter Orders=VALUE says it",
        "F.Environment.Variables.KEY": "Fn::ImportValue is not known here",
        "F.Events.Nightly (Schedule)": "schedules are not offered yet",
        "F.Events.Queue (SQS)": "event sources are not offered yet",
        "F.Events.Web (HttpApi)": "there is no API Gateway; FunctionUrlConfig gives the function a URL",
        "F.Tracing": "there is no X-Ray",
        "F.Unheard": "not known here",
    }
    assert plans.failed == {}


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ("Runtime: cobol74", "the runtime 'cobol74' is not offered; here are: script3, compiled1"),
        ("Runtime: missing1", "the runtime 'missing1' can't be used here: no compiler"),
        ("Runtime: !ImportValue x", "Fn::ImportValue is not known here"),
        ("{Runtime: script, CodeUri: !Ref Bucket}", "refers to 'Bucket' (AWS::S3::Bucket)"),
        ("{Runtime: script, CodeUri: {Bucket: !Ref Bucket, Key: k}}", "refers to 'Bucket' (AWS::S3::Bucket)"),
        ("{Runtime: script, Layers: ['arn:aws:lambda:us-east-1:017000801446:layer:x:1']}", "is not of this workspace"),
    ],
)
def test_functions_that_are_not_deployed(tmp_path: Path, properties: str, why: str) -> None:
    """The others are; the command ends with 1."""
    properties = properties if properties.startswith("{") else f"{{{properties}}}"
    function = f"{{Type: AWS::Serverless::Function, Properties: {properties}}}"
    text = f"Resources: {{F: {function}, Bucket: {{Type: AWS::S3::Bucket}}}}"
    plans = plans_of(tmp_path, text)
    assert plans.function("F") is None
    assert why in plans.failed["F"]


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ("CodeUri: ../other", "leads out of the template's folder"),
        ("CodeUri: /etc", "leads out of the template's folder"),
        ("CodeUri: link", "leads out of the template's folder"),
        ("CodeUri: nothing", "there is no 'nothing'"),
        ("CodeUri: s3://bucket", "F.CodeUri: 's3://bucket' is not of the form s3://BUCKET/KEY"),
        ("CodeUri: {Bucket: b}", "F.CodeUri: a path, or a bucket and a key in it"),
        ("Timeout: soon", "F.Timeout: a whole number"),
        ("FunctionName: a b", "can't be a function's name"),
        ("Description: [a]", "F.Description: a text"),
        ("Environment: text", "F.Environment: a mapping"),
        ("Handler: !Sub [a]", "F.Handler: Fn::Sub wants"),
        ("Environment: {Variables: {A: null}}", "F.Environment.Variables.A: a text; null is none"),
        ("FunctionUrlConfig: {AuthType: ALL}", "NONE or AWS_IAM"),
        ("FunctionUrlConfig: {AuthType: NONE, InvokeMode: FAST}", "BUFFERED or RESPONSE_STREAM"),
        ("FunctionUrlConfig: {AuthType: NONE, Cors: {AllowCredentials: 1}}", "Cors.AllowCredentials: true or false"),
    ],
)
def test_a_wrong_template_is_refused(tmp_path: Path, properties: str, why: str) -> None:
    """With the place, before anything is changed; nothing outside of the template's folder is read."""
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(tmp_path)
    text = f"Resources: {{F: {{Type: AWS::Serverless::Function, Properties: {{Runtime: script, {properties}}}}}}}"
    with pytest.raises(Refused) as refused:
        plans_of(tmp_path / "inside", text).function("F")
    assert why in refused.value.message


def test_a_variable_without_a_value_is_removed(tmp_path: Path) -> None:
    """What can't be known stays; what is said to be nothing does not."""
    text = """
        Parameters: {Stage: {Type: String}}
        Conditions: {IsDev: !Equals [!Ref Stage, dev]}
        Resources:
          F:
            Type: AWS::Serverless::Function
            Properties:
              Runtime: script
              Handler: a.b
              CodeUri: src
              ReservedConcurrentExecutions: !If [IsDev, !Ref AWS::NoValue, !Ref Limit]
              Environment: {Variables: {DEBUG_URL: !If [IsDev, "http://debug", !Ref AWS::NoValue], KEY: !Ref Limit}}
          Limit: {Type: AWS::SSM::Parameter}
    """
    dev = planned(plans_of(tmp_path, text, Stage="dev"))
    assert (dev.fields["environment"], dev.kept) == ({"DEBUG_URL": "http://debug"}, ("KEY",))
    assert dev.fields["reserved_concurrency"] is None
    plans = plans_of(tmp_path, text, Stage="prod")
    prod = planned(plans)
    assert (prod.fields["environment"], prod.kept) == ({}, ("KEY",))
    assert "reserved_concurrency" not in prod.fields
    assert "Limit" in plans.left_out["F.ReservedConcurrentExecutions"]


def test_conditions_and_parameters(tmp_path: Path) -> None:
    text = """
        Parameters:
          Stage: {Type: String, AllowedValues: [test, prod]}
          Sizes: {Type: CommaDelimitedList, Default: "128, 256"}
          Secret: {Type: "AWS::SSM::Parameter::Value<String>", Default: /name}
        Conditions:
          IsProd: !Equals [!Ref Stage, prod]
          IsNot: !Not [!Condition IsProd]
        Mappings: {Memory: {test: {small: 128}, prod: {small: 1024}}}
        Resources:
          F:
            Type: AWS::Serverless::Function
            Condition: IsProd
            Properties:
              {Runtime: script, CodeUri: src, MemorySize: !FindInMap [Memory, !Ref Stage, small]}
          G:
            Type: AWS::Serverless::Function
            Properties:
              Runtime: script
              CodeUri: src
              MemorySize: !Select [1, !Ref Sizes]
              Timeout: !If [IsNot, 9, !Ref AWS::NoValue]
              Description: !Join [" ", [for, !Select [0, !Split [",", "ships,shops"]], !Sub "${Secret} ${!Kept}"]]
        """
    prod = plans_of(tmp_path, text, Stage="prod", Secret="s")
    assert set(prod.names) == {"F", "G"}
    assert planned(prod).fields["memory"] == 1024
    assert (planned(prod, "G").fields["timeout"], planned(prod, "G").fields["memory"]) == (3, 256)
    test = plans_of(tmp_path, text, Stage="test", Secret="s")
    assert set(test.names) == {"G"}
    assert (planned(test, "G").fields["timeout"], planned(test, "G").fields["description"]) == (
        9,
        "for ships s ${Kept}",
    )
    for parameters, why in (
        ({}, "no value: Stage, Secret"),
        ({"Stage": "other", "Secret": "s"}, "one of: test, prod"),
        ({"Stage": "prod", "Secret": "s", "No": "1"}, "the template has no parameter 'No'"),
    ):
        with pytest.raises(Refused, match=why):
            plans_of(tmp_path, text, **parameters)


def test_what_never_ends_is_refused(tmp_path: Path) -> None:
    """Conditions that depend on themselves, and texts that grow without bound."""
    around = "Conditions: {A: !Not [!Condition B], B: !Not [!Condition A]}"
    body = "Resources: {F: {Type: AWS::Serverless::Function, Condition: A, Properties: {Runtime: script}}}"
    with pytest.raises(Refused, match="depends on itself"):
        plans_of(tmp_path, f"{around}\n{body}")
    big = "x" * 100_000
    many = ", ".join(f"V{n}: !Sub '${{P}}${{P}}'" for n in range(100))
    text = f"""Parameters: {{P: {{Type: String}}}}
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties: {{Runtime: script, CodeUri: src, Environment: {{Variables: {{{many}}}}}}}"""
    with pytest.raises(Refused, match="makes texts of more than 16 MiB"):
        plans_of(tmp_path, text, P=big).function("F")


def test_images(tmp_path: Path) -> None:
    """What is said of zips in Globals is not of them; one that has yet to be built is named by nobody."""
    text = """
        Globals: {Function: {Runtime: script, Handler: a.b, Timeout: 9}}
        Resources:
          F:
            Type: AWS::Serverless::Function
            Properties: {PackageType: Image, ImageUri: registry/image:1, ImageConfig: {Command: [app.handler]}}
          G:
            Type: AWS::Lambda::Function
            Properties: {PackageType: Image, Code: {ImageUri: registry/image:2}}
          H: {Type: AWS::Serverless::Function, Properties: {PackageType: Image}}
        """
    plans = plans_of(tmp_path, text)
    settings = {"entry_point": [], "command": ["app.handler"], "working_directory": ""}
    fields = planned(plans).fields
    assert (fields["image"], fields["image_config"], fields["timeout"]) == ("registry/image:1", settings, 9)
    assert not fields.keys() & {"runtime", "handler"}
    assert planned(plans).code is None
    assert planned(plans, "G").fields["image"] == "registry/image:2"
    assert plans.function("H") is None
    assert "the template names no image" in plans.failed["H"]
    assert plans.left_out == {}


def test_builds(tmp_path: Path) -> None:
    """`BuildMethod` names the runtime that builds the code; what `sam build` has left is taken as it is."""

    def plan(folder: Path, method: str) -> Any:
        text = f"""
        Resources:
          F:
            Type: AWS::Serverless::Function
            Metadata: {{BuildMethod: {method}}}
            Properties: {{Runtime: script, CodeUri: src, Handler: bootstrap}}
        """
        plans = plans_of(folder, text)
        found = plans.function("F")
        return plans.failed["F"] if found is None else found.fields["runtime"]

    assert plan(tmp_path, "c1.x") == "compiled1"
    assert "'sam build' makes .aws-sam/build" in plan(tmp_path, "makefile")
    built = tmp_path / ".aws-sam" / "build"
    built.mkdir(parents=True)
    assert plan(built, "makefile") == "script3"


@pytest.mark.parametrize(
    ("kind", "given", "place"),
    [
        ("Serverless", "CodeUri: s3://packages/team/app.zip", S3Place("packages", "team/app.zip")),
        ("Serverless", "CodeUri: 's3://packages/a?b.zip?versionId=3/x'", S3Place("packages", "a?b.zip", "3/x")),
        ("Serverless", "CodeUri: !Sub 's3://${B}/app.zip'", S3Place("given", "app.zip")),
        ("Serverless", "CodeUri: {Bucket: !Ref B, Key: app.zip, Version: v}", S3Place("given", "app.zip", "v")),
        ("Lambda", "Code: {S3Bucket: !Ref B, S3Key: app.zip}", S3Place("given", "app.zip")),
        ("Lambda", "Code: {S3Bucket: b, S3Key: k, S3ObjectVersion: 7}", S3Place("b", "k", "7")),
        ("Lambda", "Code: s3://packages/app.zip", S3Place("packages", "app.zip")),
    ],
)
def test_code_in_a_bucket(tmp_path: Path, kind: str, given: str, place: S3Place) -> None:
    """Both ways of saying it. It was built before it was put there, whatever `BuildMethod` says."""
    text = f"""
        Parameters: {{B: {{Type: String, Default: given}}}}
        Resources:
          F:
            Type: AWS::{kind}::Function
            Metadata: {{BuildMethod: makefile}}
            Properties: {{Runtime: script, Handler: a.b, {given}}}
        """
    plan = planned(plans_of(tmp_path, text))
    assert (plan.code, plan.fields["runtime"]) == (place, "script3")
    assert plan.fields.keys().isdisjoint({"code", "code_s3"})


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("Serverless", "ContentUri: s3://packages/layer.zip"),
        ("Serverless", "ContentUri: {Bucket: packages, Key: layer.zip}"),
        ("Lambda", "Content: {S3Bucket: packages, S3Key: layer.zip}"),
    ],
)
def test_a_layer_in_a_bucket(tmp_path: Path, kind: str, given: str) -> None:
    text = f"""
        Resources:
          L:
            Type: AWS::{kind}::LayerVersion
            Metadata: {{BuildMethod: script}}
            Properties: {{{given}}}
        """
    (layer,) = plans_of(tmp_path, text).layers()
    assert layer.content == S3Place("packages", "layer.zip")


def test_a_folder_s_own_yaml_is_no_template(tmp_path: Path) -> None:
    """Only one that says what it is makes a folder a template's."""
    (tmp_path / "template.yaml").write_text("greeting: {{ name }}\n")
    assert template_at(tmp_path) is None
    (tmp_path / "template.yaml").write_text("Transform: AWS::Serverless-2016-10-31\nResources: {}\n")
    assert template_at(tmp_path) is not None
    (tmp_path / "values.yaml").write_text("a: b\n")
    with pytest.raises(Refused, match="it has no Resources"):
        template_at(tmp_path / "values.yaml")
    assert template_at(tmp_path / "code.py") is None
