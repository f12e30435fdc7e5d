// Says hello. The event is what the caller sent: of a URL, the request.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

func handle(_ context.Context, request events.LambdaFunctionURLRequest) (events.LambdaFunctionURLResponse, error) {
	name := request.QueryStringParameters["name"]
	if name == "" {
		name = "world"
	}
	return events.LambdaFunctionURLResponse{
		StatusCode: 200,
		Headers:    map[string]string{"content-type": "text/plain; charset=utf-8"},
		Body:       "hello " + name + "\n",
	}, nil
}

func main() {
	lambda.Start(handle)
}
