// SPDX-License-Identifier: Apache-2.0

// What grpc-go, an HTTP/2 stack with nothing of gRPC's C-core in it, sees of a running server:
//
//	checks HOST:PORT
//
// Beside Silica's own methods these are the cases of gRPC's interoperability tests that have a
// meaning here. Prints a line for each check, and exits with 1 if one of them failed.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "silica/v1"
)

// limit is how long one call may take.
const limit = 20 * time.Second

// messageLimit is the largest message that the server takes.
const messageLimit = 16 << 20

type checks struct {
	connection *grpc.ClientConn
	client     pb.InferenceClient
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: checks HOST:PORT")
		os.Exit(2)
	}
	time.AfterFunc(time.Minute, func() { panic("the checks take more than a minute") })
	connection, err := grpc.Dial(os.Args[1], grpc.WithInsecure())
	if err != nil {
		panic(err)
	}
	all := checks{connection, pb.NewInferenceClient(connection)}
	failures := 0
	for _, check := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"GetModel says what is served", all.model},
		{"a session runs generations, and one is cancelled", all.session},
		{"gzip, in unary calls and streams", all.compression},
		{"health: Check and Watch", all.health},
		{"an error with BadRequest and ErrorInfo", all.errorDetails},
		{"an error frame of a session with details", all.failedFrame},
		{"metadata of every kind is no obstacle", all.metadata},
		{"empty_stream", all.emptyStream},
		{"cancel_after_begin", all.cancelAfterBegin},
		{"cancel_after_first_response", all.cancelAfterFirstResponse},
		{"timeout_on_sleeping_server", all.timeoutOnSleepingServer},
		{"unimplemented_method and unimplemented_service", all.unimplemented},
		{"special_status_message", all.specialStatusMessage},
		{"large_unary, and one over the limit", all.large},
	} {
		ctx, stop := context.WithTimeout(context.Background(), limit)
		if err := check.run(ctx); err != nil {
			failures++
			fmt.Printf("FAILED %s: %v\n", check.name, err)
		} else {
			fmt.Printf("passed %s\n", check.name)
		}
		stop()
	}
	if failures > 0 {
		os.Exit(1)
	}
}

// MARK: Silica's own methods

// greedy gives the same text each time, and exactly this many tokens.
func greedy(text string, tokens uint32) *pb.Start {
	heat, on := float32(0), true
	return &pb.Start{
		Input:    &pb.Start_Text{Text: text},
		Sampling: &pb.Sampling{Temperature: &heat},
		Stopping: &pb.Stopping{MaxTokens: &tokens, IgnoreEos: &on},
	}
}

func begin(generation uint32, start *pb.Start) *pb.ClientFrame {
	return &pb.ClientFrame{Generation: generation, Frame: &pb.ClientFrame_Start{Start: start}}
}

// generate gives the text of one generation.
func (c checks) generate(
	ctx context.Context, start *pb.Start, options ...grpc.CallOption,
) (string, error) {
	stream, err := c.client.Generate(ctx, &pb.GenerateRequest{Start: start}, options...)
	if err != nil {
		return "", err
	}
	text := ""
	for {
		response, err := stream.Recv()
		if err == io.EOF {
			return text, nil
		} else if err != nil {
			return text, err
		}
		text += response.GetDelta().GetText()
	}
}

func (c checks) model(ctx context.Context) error {
	model, err := c.client.GetModel(ctx, &pb.GetModelRequest{})
	if err != nil {
		return err
	}
	if model.Name == "" || model.Architecture == "" || model.VocabularySize == 0 {
		return fmt.Errorf("an incomplete model: %v", model)
	}
	return nil
}

func (c checks) session(ctx context.Context) error {
	prompts := []string{"Once upon a time", "The second", "東京 is a city 🙂"}
	texts, ends, err := c.frames(ctx, prompts, 2)
	if err != nil {
		return err
	}
	for i, prompt := range prompts {
		number := uint32(i + 1)
		reason := pb.FinishReason_FINISH_REASON_LENGTH
		if number == 2 {
			reason = pb.FinishReason_FINISH_REASON_CANCELLED
		}
		if len(ends[number]) != 1 || ends[number][0] != reason {
			return fmt.Errorf("generation %d ended with %v", number, ends[number])
		}
		if number == 2 {
			continue
		}
		alone, err := c.generate(ctx, greedy(prompt, 24))
		if err != nil || texts[number] != alone {
			return fmt.Errorf("generation %d: %q, alone %q, %v", number, texts[number], alone, err)
		}
	}
	return nil
}

// frames runs a session, cancels one generation at its first delta, and gives all texts and ends.
func (c checks) frames(
	ctx context.Context, prompts []string, cancelled uint32,
) (map[uint32]string, map[uint32][]pb.FinishReason, error) {
	stream, err := c.client.Session(ctx)
	if err != nil {
		return nil, nil, err
	}
	for i, prompt := range prompts {
		number, tokens := uint32(i+1), uint32(24)
		if number == cancelled {
			tokens = 4000
		}
		if err := stream.Send(begin(number, greedy(prompt, tokens))); err != nil {
			return nil, nil, err
		}
	}
	texts, ends := map[uint32]string{}, map[uint32][]pb.FinishReason{}
	for {
		frame, err := stream.Recv()
		if err == io.EOF {
			return texts, ends, nil
		} else if err != nil {
			return nil, nil, err
		}
		number := frame.Generation
		if delta := frame.GetDelta(); delta != nil {
			if number == cancelled && texts[number] == "" {
				end := &pb.ClientFrame_Cancel{Cancel: &pb.Cancel{}}
				if err := stream.Send(&pb.ClientFrame{Generation: number, Frame: end}); err != nil {
					return nil, nil, err
				}
			}
			texts[number] += delta.Text
		}
		if finished := frame.GetFinished(); finished != nil {
			ends[number] = append(ends[number], finished.Reason)
			if len(ends) == len(prompts) {
				_ = stream.CloseSend()
			}
		}
	}
}

func (c checks) compression(ctx context.Context) error {
	if _, err := c.client.GetModel(ctx, &pb.GetModelRequest{}, grpc.UseCompressor(gzip.Name)); err != nil {
		return err
	}
	start := greedy(strings.Repeat("Once upon a time ", 20), 24)
	plain, err := c.generate(ctx, start)
	if err != nil {
		return err
	}
	compressed, err := c.generate(ctx, start, grpc.UseCompressor(gzip.Name))
	if err != nil || plain != compressed {
		return fmt.Errorf("%q became %q, %v", plain, compressed, err)
	}
	stream, err := c.client.Session(ctx, grpc.UseCompressor(gzip.Name))
	if err != nil {
		return err
	}
	if err := stream.Send(begin(1, start)); err != nil {
		return err
	}
	_ = stream.CloseSend()
	text := ""
	for {
		frame, err := stream.Recv()
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		text += frame.GetDelta().GetText()
	}
	if text != plain {
		return fmt.Errorf("%q became %q on a stream", plain, text)
	}
	return nil
}

func (c checks) health(ctx context.Context) error {
	client := health.NewHealthClient(c.connection)
	for _, service := range []string{"", "silica.v1.Inference"} {
		request := &health.HealthCheckRequest{Service: service}
		response, err := client.Check(ctx, request)
		if err != nil || response.Status != health.HealthCheckResponse_SERVING {
			return fmt.Errorf("Check of %q: %v, %v", service, response, err)
		}
		watching, stop := context.WithCancel(ctx)
		defer stop()
		watch, err := client.Watch(watching, request)
		if err != nil {
			return err
		}
		response, err = watch.Recv()
		if err != nil || response.Status != health.HealthCheckResponse_SERVING {
			return fmt.Errorf("Watch of %q: %v, %v", service, response, err)
		}
		stop()
		if _, err := watch.Recv(); status.Code(err) != codes.Canceled {
			return fmt.Errorf("a cancelled Watch ended with %v", err)
		}
	}
	_, err := client.Check(ctx, &health.HealthCheckRequest{Service: "no.such.Service"})
	return expect(err, codes.NotFound)
}

// MARK: Errors and metadata

func expect(err error, code codes.Code) error {
	if status.Code(err) != code {
		return fmt.Errorf("%v, expected %v", err, code)
	}
	return nil
}

// checkDetails expects an ErrorInfo of this service, and a BadRequest that names the field.
func checkDetails(details []interface{}, reason, field string) error {
	found := map[string]bool{}
	for _, detail := range details {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			found["info"] = detail.Reason == reason && detail.Domain == "silica"
		case *errdetails.BadRequest:
			violations := detail.FieldViolations
			found["field"] = len(violations) == 1 && violations[0].Field == field
		}
	}
	if !found["info"] || !found["field"] {
		return fmt.Errorf("details %v, expected %s about %s", details, reason, field)
	}
	return nil
}

func (c checks) errorDetails(ctx context.Context) error {
	start, wrong := greedy("Hello", 3), float32(1.5)
	start.Sampling.TopP = &wrong
	_, err := c.generate(ctx, start)
	if err := expect(err, codes.InvalidArgument); err != nil {
		return err
	}
	return checkDetails(
		status.Convert(err).Details(), "INVALID_FIELD", "start.sampling.top_p")
}

func (c checks) failedFrame(ctx context.Context) error {
	stream, err := c.client.Session(ctx)
	if err != nil {
		return err
	}
	end := &pb.ClientFrame_Cancel{Cancel: &pb.Cancel{}}
	if err := stream.Send(&pb.ClientFrame{Generation: 7, Frame: end}); err != nil {
		return err
	}
	_ = stream.CloseSend()
	frame, err := stream.Recv()
	if err != nil || frame.GetFailed() == nil {
		return fmt.Errorf("%v, %v instead of a refusal", frame, err)
	}
	refusal := status.FromProto(frame.GetFailed().Status)
	return checkDetails(refusal.Details(), "UNKNOWN_GENERATION", "generation")
}

func (c checks) metadata(ctx context.Context) error {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	ctx = metadata.AppendToOutgoingContext(
		ctx, "x-request-id", "1", "x-request-id", "2", "trace-bin", string(all),
		"trace-bin", "", "x-empty", "")
	var headers, trailers metadata.MD
	_, err := c.client.GetModel(
		ctx, &pb.GetModelRequest{}, grpc.Header(&headers), grpc.Trailer(&trailers))
	if err != nil {
		return err
	}
	if kinds := headers.Get("content-type"); len(kinds) != 1 || kinds[0] != "application/grpc" {
		return fmt.Errorf("headers %v", headers)
	}
	_, err = c.generate(ctx, greedy("Hello", 3))
	return err
}

// MARK: gRPC's interoperability cases

func (c checks) emptyStream(ctx context.Context) error {
	stream, err := c.client.Session(ctx)
	if err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if frame, err := stream.Recv(); err != io.EOF {
		return fmt.Errorf("%v, %v instead of the end", frame, err)
	}
	return nil
}

func (c checks) cancelAfterBegin(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.client.Session(ctx)
	if err != nil {
		return err
	}
	cancel()
	_, err = stream.Recv()
	return expect(err, codes.Canceled)
}

func (c checks) cancelAfterFirstResponse(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.client.Session(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(begin(1, greedy("Once upon a time", 4000))); err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil {
		return err
	}
	cancel()
	for {
		// What arrived before the cancellation may still be read.
		if _, err := stream.Recv(); err != nil {
			return expect(err, codes.Canceled)
		}
	}
}

func (c checks) timeoutOnSleepingServer(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	stream, err := c.client.Session(ctx)
	for err == nil {
		// No frame was sent, so the server has nothing to say but, now and then, its load.
		_, err = stream.Recv()
	}
	return expect(err, codes.DeadlineExceeded)
}

func (c checks) unimplemented(ctx context.Context) error {
	for _, path := range []string{"/silica.v1.Inference/Nothing", "/no.such.Service/Nothing"} {
		err := c.connection.Invoke(ctx, path, &pb.GetModelRequest{}, &pb.GetModelResponse{})
		if err := expect(err, codes.Unimplemented); err != nil {
			return fmt.Errorf("%s: %v", path, err)
		}
		if !strings.Contains(err.Error(), path) {
			return fmt.Errorf("%s: the message is %v", path, err)
		}
	}
	return nil
}

func (c checks) specialStatusMessage(ctx context.Context) error {
	const special = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n%25"
	start := greedy("Hello", 3)
	start.Model = special
	_, err := c.generate(ctx, start)
	if err := expect(err, codes.NotFound); err != nil {
		return err
	}
	if message := status.Convert(err).Message(); !strings.Contains(message, special) {
		return fmt.Errorf("the message is %q", message)
	}
	return nil
}

func (c checks) large(ctx context.Context) error {
	request := func(size int) error {
		message := &pb.GetModelRequest{}
		// A field that the server does not know, of a length with four bytes.
		head := []byte{0xFA, 0x06, 0x80, 0x80, 0x80, 0x00}
		length := size - len(head)
		for i := 0; i < 4; i++ {
			more := byte(0x80)
			if i == 3 {
				more = 0
			}
			head[2+i] = byte(length>>(7*i))&0x7F | more
		}
		message.ProtoReflect().SetUnknown(append(head, bytes.Repeat([]byte("a"), length)...))
		_, err := c.client.GetModel(ctx, message)
		return err
	}
	if err := request(messageLimit); err != nil {
		return fmt.Errorf("a message of the limit's size: %v", err)
	}
	if err := expect(request(messageLimit+1), codes.ResourceExhausted); err != nil {
		return err
	}
	_, err := c.client.GetModel(ctx, &pb.GetModelRequest{})
	return err
}
