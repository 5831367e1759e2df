// SPDX-License-Identifier: Apache-2.0

// A Silica client in Go, on the stubs of protoc-gen-go and protoc-gen-go-grpc.
//
//	make -C Examples/go && Examples/go/build/client localhost:50051 "Write a haiku" "Count to 10"
//
// Every prompt becomes a generation of its own on one stream; each line that is printed is one
// delta. With -cancel N, generation N is cancelled at its first delta. With -once, the one prompt
// goes through Generate: one request, one stream of answers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	pb "silica/v1"
)

var (
	authorities = flag.String("ca", "", "PEM file of the authorities to trust; none: no TLS")
	cancel      = flag.Uint("cancel", 0, "cancel this generation at its first delta")
	deadline    = flag.Duration("deadline", time.Minute, "give up after this time")
	maxTokens   = flag.Uint("max-tokens", 32, "tokens to generate, at most")
	once        = flag.Bool("once", false, "run the one prompt with Generate")
	temperature = flag.Float64("temperature", 0, "0 is greedy")
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: client [OPTIONS] HOST:PORT PROMPT...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() < 2 || *once && flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Args()[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "client:", describe(err))
		os.Exit(1)
	}
}

func run(target string, prompts []string) error {
	ctx, stop := context.WithTimeout(context.Background(), *deadline)
	defer stop()
	security := grpc.WithInsecure()
	if *authorities != "" {
		trusted, err := credentials.NewClientTLSFromFile(*authorities, "")
		if err != nil {
			return err
		}
		security = grpc.WithTransportCredentials(trusted)
	}
	connection, err := grpc.DialContext(ctx, target, security)
	if err != nil {
		return err
	}
	defer connection.Close()
	client := pb.NewInferenceClient(connection)
	if *once {
		return generate(ctx, client, prompts[0])
	}
	return session(ctx, client, prompts)
}

// start asks for an answer to a prompt.
func start(prompt string) *pb.Start {
	// Every sampling value is a pointer: nil is the model's default, and 0 is 0.
	heat, tokens := float32(*temperature), uint32(*maxTokens)
	message := &pb.ChatMessage{Role: pb.Role_ROLE_USER, Content: prompt}
	return &pb.Start{
		Input:    &pb.Start_Chat{Chat: &pb.Chat{Messages: []*pb.ChatMessage{message}}},
		Sampling: &pb.Sampling{Temperature: &heat},
		Stopping: &pb.Stopping{MaxTokens: &tokens},
	}
}

// generate runs one generation with Generate; an error of it is the call's status.
func generate(ctx context.Context, client pb.InferenceClient, prompt string) error {
	stream, err := client.Generate(ctx, &pb.GenerateRequest{Start: start(prompt)})
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		switch event := response.Event.(type) {
		case *pb.GenerateResponse_Delta:
			fmt.Print(event.Delta.Text)
		case *pb.GenerateResponse_Finished:
			fmt.Printf("\n%v: %d tokens\n", event.Finished.Reason, event.Finished.Usage.GeneratedTokens)
		}
	}
}

// session runs all prompts on one stream; an error of one is a frame, and the others go on.
func session(ctx context.Context, client pb.InferenceClient, prompts []string) error {
	stream, err := client.Session(ctx)
	if err != nil {
		return err
	}
	running := map[uint32]bool{}
	for i, prompt := range prompts {
		number := uint32(i + 1)
		running[number] = true
		frame := &pb.ClientFrame_Start{Start: start(prompt)}
		// A failed Send says EOF; Recv then says why.
		if stream.Send(&pb.ClientFrame{Generation: number, Frame: frame}) != nil {
			break
		}
	}
	failures := 0
	for {
		frame, err := stream.Recv()
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		number := frame.Generation
		switch content := frame.Frame.(type) {
		case *pb.ServerFrame_Delta:
			fmt.Printf("[%d] %q\n", number, content.Delta.Text)
			if uint(number) == *cancel {
				*cancel = 0
				end := &pb.ClientFrame_Cancel{Cancel: &pb.Cancel{}}
				_ = stream.Send(&pb.ClientFrame{Generation: number, Frame: end})
			}
		case *pb.ServerFrame_Finished:
			end := content.Finished
			fmt.Printf("[%d] %v: %d tokens\n", number, end.Reason, end.Usage.GeneratedTokens)
			delete(running, number)
		case *pb.ServerFrame_Failed:
			failures++
			fmt.Printf("[%d] failed: %s\n", number, content.Failed.Status.Message)
			if !content.Failed.GenerationContinues {
				delete(running, number)
			}
		}
		if len(running) == 0 {
			_ = stream.CloseSend()
		}
	}
	if failures > 0 {
		return errors.New("not every prompt was answered")
	}
	return nil
}

// describe says what a call ended with, with the typed details that Silica sends.
func describe(err error) string {
	text := err.Error()
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				text += "\n  field: " + violation.Field
			}
		case *errdetails.RetryInfo:
			text += "\n  try again in: " + detail.RetryDelay.String()
		}
	}
	return text
}
