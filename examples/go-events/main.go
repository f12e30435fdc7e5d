// Counts what a queue's messages say, with aws-lambda-go and its types of events. A message that can't be read is
// reported by its id, so that it alone comes again.
package main

import (
	"context"
	"encoding/json"
	"log"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type order struct {
	Item  string `json:"item"`
	Count int    `json:"count"`
}

type answer struct {
	BatchItemFailures []events.SQSBatchItemFailure `json:"batchItemFailures"`
	Counted           map[string]int               `json:"counted"`
	RequestID         string                       `json:"requestId"`
}

func handle(ctx context.Context, queued events.SQSEvent) (answer, error) {
	found := answer{BatchItemFailures: []events.SQSBatchItemFailure{}, Counted: map[string]int{}}
	if known, ok := lambdacontext.FromContext(ctx); ok {
		found.RequestID = known.AwsRequestID
	}
	for _, message := range queued.Records {
		var wanted order
		if err := json.Unmarshal([]byte(message.Body), &wanted); err != nil {
			log.Printf("message %s: %v", message.MessageId, err)
			found.BatchItemFailures = append(found.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: message.MessageId})
			continue
		}
		found.Counted[wanted.Item] += wanted.Count
	}
	return found, nil
}

func main() {
	lambda.Start(handle)
}
