// Adds up what it is given, and says where it runs.
package main

import (
	"context"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Numbers []float64 `json:"numbers"`
}

type answer struct {
	Sum     float64 `json:"sum"`
	Name    string  `json:"name"`
	Memory  int     `json:"memory"`
	Version string  `json:"version"`
	Text    string  `json:"text"`
}

func handle(_ context.Context, given event) (answer, error) {
	sum := 0.0
	for _, number := range given.Numbers {
		sum += number
	}
	return answer{
		sum, os.Getenv("_HANDLER"), lambdacontext.MemoryLimitInMB, lambdacontext.FunctionVersion, "größer",
	}, nil
}

func main() {
	lambda.Start(handle)
}
