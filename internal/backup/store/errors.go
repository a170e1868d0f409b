package store

import (
	"context"
	"errors"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"controlplane/internal/backup"
)

// classify says whose turn it is: what answers nothing or 5xx comes back by itself, what refuses us doesn't.
func classify(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "NoSuchKey", "NotFound", "NoSuchUpload":
			return backup.ErrObjectMissing.WithCause(err)
		case "QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "EntityTooLarge":
			return backup.ErrStoreFull.WithCause(err)
		case "NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "PermanentRedirect",
			"AuthorizationHeaderMalformed":
			return backup.ErrStoreRefused.WithCause(err)
		}
	}
	var response *awshttp.ResponseError
	if !errors.As(err, &response) || response.HTTPStatusCode() == 0 { // nobody answered
		return backup.ErrStoreUnreachable.WithCause(err)
	}
	switch code := response.HTTPStatusCode(); {
	case code == http.StatusInsufficientStorage:
		return backup.ErrStoreFull.WithCause(err)
	case code >= http.StatusInternalServerError, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return backup.ErrStoreUnreachable.WithCause(err)
	}
	return backup.ErrStoreRefused.WithCause(err)
}
