// What a program does with aws-sdk-go-v2: make a function, wait, call it, change it, list, delete. The endpoint and the
// keys are in the environment. What was seen is printed as JSON.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

const (
	name = "from-go"
	wait = time.Minute
)

type seen struct {
	Created string            `json:"created"`
	Payload map[string]string `json:"payload"`
	Log     bool              `json:"log"`
	Timeout int32             `json:"timeout"`
	Listed  []string          `json:"listed"`
	Missing string            `json:"missing"`
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	ctx := context.Background()
	client := lambda.NewFromConfig(must(config.LoadDefaultConfig(ctx)), func(o *lambda.Options) { o.RetryMaxAttempts = 1 })
	var found seen
	made := must(client.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String(name),
		Runtime:      types.RuntimePython312,
		Handler:      aws.String("app.handler"),
		Role:         aws.String("arn:aws:iam::123456789012:role/lambda"),
		Code:         &types.FunctionCode{ZipFile: must(os.ReadFile(os.Args[1]))},
	}))
	found.Created = string(made.State)
	one := &lambda.GetFunctionInput{FunctionName: aws.String(name)}
	if err := lambda.NewFunctionActiveV2Waiter(client).Wait(ctx, one, wait); err != nil {
		log.Fatal(err)
	}
	invoked := must(client.Invoke(ctx, &lambda.InvokeInput{
		FunctionName: made.FunctionArn,
		Payload:      []byte(`{"text": "ä"}`),
		LogType:      types.LogTypeTail,
	}))
	if err := json.Unmarshal(invoked.Payload, &found.Payload); err != nil {
		log.Fatal(err)
	}
	tail := must(base64.StdEncoding.DecodeString(*invoked.LogResult))
	found.Log = strings.HasPrefix(string(tail), "START RequestId: ")
	must(client.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: aws.String(name),
		Timeout:      aws.Int32(12),
	}))
	if err := lambda.NewFunctionUpdatedV2Waiter(client).Wait(ctx, one, wait); err != nil {
		log.Fatal(err)
	}
	found.Timeout = *must(client.GetFunction(ctx, one)).Configuration.Timeout
	pages := lambda.NewListFunctionsPaginator(client, &lambda.ListFunctionsInput{MaxItems: aws.Int32(1)})
	for pages.HasMorePages() {
		for _, function := range must(pages.NextPage(ctx)).Functions {
			found.Listed = append(found.Listed, *function.FunctionName)
		}
	}
	must(client.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: aws.String(name)}))
	var missing *types.ResourceNotFoundException
	if _, err := client.GetFunction(ctx, one); errors.As(err, &missing) {
		found.Missing = *missing.Message
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}
