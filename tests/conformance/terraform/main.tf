# A function, as people write it for AWS. The endpoint and the keys are in the environment.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  skip_metadata_api_check = true
}

variable "timeout" {
  type = number
}

resource "aws_lambda_function" "hello" {
  function_name    = "from-terraform"
  description      = "made by Terraform"
  role             = "arn:aws:iam::123456789012:role/lambda"
  runtime          = "python3.12"
  handler          = "app.handler"
  filename         = "${path.module}/code.zip"
  source_code_hash = filebase64sha256("${path.module}/code.zip")
  timeout          = var.timeout
  memory_size      = 256
  publish          = true

  environment {
    variables = { STAGE = "test" }
  }

  tags = { team = "a" }
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  function_name    = aws_lambda_function.hello.function_name
  function_version = aws_lambda_function.hello.version
}

resource "aws_lambda_function_event_invoke_config" "hello" {
  function_name          = aws_lambda_function.hello.function_name
  maximum_retry_attempts = 1
}

resource "aws_lambda_function_url" "hello" {
  function_name      = aws_lambda_function.hello.function_name
  authorization_type = "NONE"
}

resource "aws_lambda_permission" "bucket" {
  statement_id  = "bucket"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.hello.function_name
  principal     = "s3.amazonaws.com"
  source_arn    = "arn:aws:s3:::bucket"
}

data "aws_caller_identity" "here" {}

output "arn" {
  value = aws_lambda_function.hello.arn
}

output "alias" {
  value = aws_lambda_alias.live.arn
}

output "url" {
  value = aws_lambda_function_url.hello.function_url
}

output "account" {
  value = data.aws_caller_identity.here.account_id
}
