package cleanup

import "context"

// Counted makes a sweep's Run of a function that says how much it removed.
func Counted(fn func(ctx context.Context) (int, error)) func(ctx context.Context) (Result, error) {
	return func(ctx context.Context) (Result, error) {
		n, err := fn(ctx)
		return Result{Done: n}, err
	}
}

// Plain makes one of a function that says nothing.
func Plain(fn func(ctx context.Context) error) func(ctx context.Context) (Result, error) {
	return func(ctx context.Context) (Result, error) { return Result{}, fn(ctx) }
}
