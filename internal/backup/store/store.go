// Package store is backup.Store on any server that speaks S3, and the only importer of the SDK. What is stored is encrypted before it comes
// here: the server isn't trusted with anything but keeping it.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	tmtypes "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"controlplane/internal/backup"
	"controlplane/internal/secrets"
)

const (
	minPart   = 5 << 20 // the least that the protocol allows; two at once, and one being filled, are all that an upload keeps in memory
	maxParts  = 9000    // the protocol allows 10,000
	atOnce    = 2
	tries     = 4
	cleanUp   = 30 * time.Second // giving up an upload whose context has ended
	connectIn = 10 * time.Second
)

// Options tell where the bucket is. Bucket, AccessKey and SecretKey are required.
type Options struct {
	Endpoint    string // base URL; "": the vendor's own, by region
	Region      string // default us-east-1, which servers without regions take
	Bucket      string
	AccessKey   string
	SecretKey   secrets.Secret
	VirtualHost bool          // address the bucket as a host name rather than a path
	CallTimeout time.Duration // for one call, a part's upload among them; default 2 min
	StallAfter  time.Duration // a download that gives nothing for so long is begun again; default 30 s
}

// Store is one bucket.
type Store struct {
	calls    *s3.Client // each call ends in time
	streams  *s3.Client // for downloads, which take as long as they give something
	transfer *transfermanager.Client
	bucket   string
	stall    time.Duration
}

var _ backup.Store = (*Store)(nil)

// New returns a Store; it calls nobody.
func New(o Options) (*Store, error) {
	if o.Bucket == "" || o.AccessKey == "" || o.SecretKey == "" {
		return nil, errors.New("the backup store needs a bucket, an access key and a secret key")
	}
	timeout := cmp.Or(o.CallTimeout, 2*time.Minute)
	client := func(timeout time.Duration) *s3.Client { return s3.New(sdkOptions(o, timeout)) }
	s := &Store{calls: client(timeout), streams: client(0), bucket: o.Bucket, stall: cmp.Or(o.StallAfter, 30*time.Second)}
	s.transfer = transfermanager.New(s.calls, func(t *transfermanager.Options) {
		t.PartSizeBytes = minPart
		t.MultipartUploadThreshold = minPart
		t.Concurrency = atOnce
		t.FailTimeout = cleanUp
		t.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	})
	return s, nil
}

// sdkOptions leave out the checksum headers that came in 2025, which other servers refuse, and have bodies go unsigned, for whose hash both
// sides would have to read them once more: what is stored bears hashes of its own, and is read back.
func sdkOptions(o Options, timeout time.Duration) s3.Options {
	transport := awshttp.NewBuildableClient().WithTimeout(timeout).WithTransportOptions(func(t *http.Transport) {
		t.DialContext = (&net.Dialer{Timeout: connectIn}).DialContext
		t.TLSHandshakeTimeout = connectIn
		t.ResponseHeaderTimeout = cmp.Or(o.CallTimeout, 2*time.Minute)
		t.MaxConnsPerHost = 32
	})
	out := s3.Options{
		Region:                     cmp.Or(o.Region, "us-east-1"),
		Credentials:                credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretKey.Reveal(), ""),
		UsePathStyle:               !o.VirtualHost,
		HTTPClient:                 transport,
		RetryMaxAttempts:           tries,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		APIOptions:                 []func(*middleware.Stack) error{v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware},
		DisableLogOutputChecksumValidationSkipped: true,
	}
	if o.Endpoint != "" {
		out.BaseEndpoint = aws.String(o.Endpoint)
	}
	return out
}

// Put uploads in parts as r gives them. What was uploaded of an object that r couldn't give whole is given up.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	source := &failing{r: r}
	_, err := s.transfer.UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: aws.String(s.bucket), Key: aws.String(key), Body: source, ContentType: aws.String("application/octet-stream"),
		ACL: tmtypes.ObjectCannedACL(""),
	}, func(t *transfermanager.Options) { t.PartSizeBytes = partSize(size) })
	switch {
	case err == nil:
		return nil
	case source.err != nil:
		return source.err // what it was read from is to blame
	}
	return classify(fmt.Errorf("store %s: %w", key, err))
}

// partSize makes the parts of what may be large so large that there aren't too many.
func partSize(size int64) int64 { return max(minPart, size/maxParts+1) }

// failing keeps a reader's error, which the SDK would wrap beyond recognition.
type failing struct {
	r   io.Reader
	err error
}

// Read reads on.
func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// List takes as many calls as there are thousands of objects.
func (s *Store) List(ctx context.Context, prefix string, fn func(backup.Object) error) error {
	pages := s3.NewListObjectsV2Paginator(s.calls, &s3.ListObjectsV2Input{Bucket: aws.String(s.bucket), Prefix: aws.String(prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return classify(fmt.Errorf("list %s: %w", prefix, err))
		}
		for _, o := range page.Contents {
			if err := fn(backup.Object{Key: aws.ToString(o.Key), Bytes: aws.ToInt64(o.Size), At: aws.ToTime(o.LastModified)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove removes one object at a call: the call for many takes a checksum that not every server knows.
func (s *Store) Remove(ctx context.Context, key string) error {
	_, err := s.calls.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(s.bucket), Key: aws.String(key)})
	if err = classify(err); err == nil || errors.Is(err, backup.ErrObjectMissing) {
		return nil
	}
	return fmt.Errorf("remove %s: %w", key, err)
}

// AbortUploads frees what a process that was killed had uploaded so far; the store keeps, and charges for, that for ever.
func (s *Store) AbortUploads(ctx context.Context, prefix string, before time.Time) (int, error) {
	pages := s3.NewListMultipartUploadsPaginator(s.calls, &s3.ListMultipartUploadsInput{Bucket: aws.String(s.bucket), Prefix: aws.String(prefix)})
	aborted := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return aborted, classify(fmt.Errorf("list unfinished uploads of %s: %w", prefix, err))
		}
		for _, u := range page.Uploads {
			if !aws.ToTime(u.Initiated).Before(before) {
				continue
			}
			_, err := s.calls.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: aws.String(s.bucket), Key: u.Key, UploadId: u.UploadId})
			if err = classify(err); err != nil && !errors.Is(err, backup.ErrObjectMissing) {
				return aborted, fmt.Errorf("give up the upload of %s: %w", aws.ToString(u.Key), err)
			}
			aborted++
		}
	}
	return aborted, nil
}
