// Batches: the SDK's services take none (OnBulkTopicEvent is unimplemented in its gRPC service, and its HTTP service knows
// no bulk route), so they are taken one layer below: by the generated gRPC server, and by a route of the service's mux.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	dapr "github.com/dapr/go-sdk/client"
	"github.com/dapr/go-sdk/service/common"
	served_grpc "github.com/dapr/go-sdk/service/grpc"
	served_http "github.com/dapr/go-sdk/service/http"
	"github.com/go-chi/chi/v5"
	"google.golang.org/grpc"
)

var (
	seen    sync.Map // events of batches
	batches = make(chan int, 16)
)

// judged is what the app answers for one event of a batch; "once" is taken the second time it comes.
func judged(name, content string) common.SubscriptionResponseStatus {
	received <- name + ": " + content
	_, again := seen.LoadOrStore(name+content, true)
	switch {
	case content == "bad":
		return common.SubscriptionResponseStatusDrop
	case content == "later", content == "once" && !again:
		return common.SubscriptionResponseStatusRetry
	}
	return common.SubscriptionResponseStatusSuccess
}

// HTTP.

func httpService(address string) common.Service {
	mux := chi.NewRouter()
	mux.Post("/{name:bulk|again}", takeBatch)
	return served_http.NewServiceWithMux(address, mux)
}

func takeBatch(answer http.ResponseWriter, request *http.Request) {
	var asked struct {
		Entries []struct {
			EntryID string `json:"entryId"`
			Event   struct{ Data string }
		}
	}
	if err := json.NewDecoder(request.Body).Decode(&asked); err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	batches <- len(asked.Entries)
	statuses := []map[string]any{}
	for _, entry := range asked.Entries {
		status := judged(chi.URLParam(request, "name"), entry.Event.Data)
		statuses = append(statuses, map[string]any{"entryId": entry.EntryID, "status": status})
	}
	_ = json.NewEncoder(answer).Encode(map[string]any{"statuses": statuses})
}

// gRPC.

// bulkService is the SDK's service, whose callbacks another gRPC server offers, with one of them replaced.
type bulkService struct {
	*served_grpc.Server
	listener net.Listener
}

func grpcService(address string) (common.Service, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	unused := grpc.NewServer() // the SDK registers its own callbacks there
	service := served_grpc.NewServiceWithGrpcServer(listener, unused).(*served_grpc.Server)
	return bulkService{service, listener}, nil
}

func (service bulkService) Start() error {
	server := grpc.NewServer()
	runtime.RegisterAppCallbackServer(server, service)
	return server.Serve(service.listener)
}

func (service bulkService) OnBulkTopicEvent(
	_ context.Context, asked *runtime.TopicEventBulkRequest,
) (*runtime.TopicEventBulkResponse, error) {
	batches <- len(asked.GetEntries())
	answer := &runtime.TopicEventBulkResponse{}
	for _, entry := range asked.GetEntries() {
		status := judged(asked.GetPath()[1:], string(entry.GetCloudEvent().GetData()))
		answer.Statuses = append(answer.Statuses, &runtime.TopicEventBulkResponseEntry{
			EntryId: entry.GetEntryId(),
			Status: runtime.TopicEventResponse_TopicEventResponseStatus(
				runtime.TopicEventResponse_TopicEventResponseStatus_value[string(status)]),
		})
	}
	return answer, nil
}

// What is expected of the runtime.

func bulkSubscription(ctx context.Context, client dapr.Client) error {
	if err := publishAll(ctx, client, appID+"-bulk", "good", "later", "bad"); err != nil {
		return err
	}
	if err := arrives(ctx, "bulk: bad", "bulk: good", "bulk: later", "letter: bad", "letter: later"); err != nil {
		return err
	}
	return cameInBulk(3)
}

func bulkSubscriptionWithRetry(ctx context.Context, client dapr.Client) error {
	if err := publishAll(ctx, client, appID+"-again", "good", "once", "bad"); err != nil {
		return err
	}
	if err := arrives(ctx, "again: bad", "again: good", "again: once", "again: once"); err != nil {
		return err
	}
	return cameInBulk(4)
}

func cameInBulk(count int) error {
	sum, largest := 0, 0
	for sum < count {
		select {
		case size := <-batches:
			sum, largest = sum+size, max(largest, size)
		default:
			return fmt.Errorf("only %d events came in batches", sum)
		}
	}
	if sum > count || largest < 2 {
		return fmt.Errorf("%d events came in batches of at most %d", sum, largest)
	}
	return nil
}

func publishAll(ctx context.Context, client dapr.Client, topic string, events ...any) error {
	answer := client.PublishEvents(ctx, pubsub, topic, events)
	if answer.Error != nil || len(answer.FailedEvents) > 0 {
		return fmt.Errorf("%v, failed %v", answer.Error, answer.FailedEvents)
	}
	return nil
}
