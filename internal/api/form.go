package api

import (
	"encoding/json"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"controlplane/internal/errs"
)

var (
	errBadForm      = errs.New(errs.Malformed, "bad_form", "The form couldn't be read.")
	errNotLoginType = errs.New(errs.Malformed, "unsupported_content_type",
		"The Content-Type must be multipart/form-data, application/x-www-form-urlencoded or application/json.")
)

// decodeForm is decodeJSON for a route that older clients send forms to, in either of the two encodings. Only the body counts:
// a password in the query string would end up in logs.
func (s *server) decodeForm(w http.ResponseWriter, r *http.Request, into any) error {
	var values url.Values
	var err error
	switch kind := mediaType(r); {
	case kind == "multipart/form-data":
		values, err = s.multipartValues(w, r)
	case kind == "application/x-www-form-urlencoded":
		values, err = s.urlencodedValues(w, r)
	case kind == "" || kind == "application/json" || strings.HasSuffix(kind, "+json"):
		return s.decodeJSON(w, r, into)
	default:
		return errNotLoginType
	}
	if err != nil {
		return err
	}
	fields := map[string]json.RawMessage{}
	for name, v := range values {
		fields[name] = quote(v[len(v)-1])
	}
	return s.checker.bind(fields, into)
}

// quote makes a JSON string. Bytes that aren't UTF-8 become the replacement character, which badText refuses.
func quote(text string) json.RawMessage {
	raw, err := json.Marshal(text)
	if err != nil { // strings always encode
		return json.RawMessage(`""`)
	}
	return raw
}

func (s *server) urlencodedValues(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	body, err := readBody(w, r, s.opts.MaxBody)
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errBadForm.WithCause(err)
	}
	return values, nil
}

func (s *server) multipartValues(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || params["boundary"] == "" {
		return nil, errBadForm
	}
	body := limited(w, r, s.opts.MaxBody)
	// The whole body fits in memory by the limit above, so that nothing is ever written to a temporary file.
	form, err := multipart.NewReader(body, params["boundary"]).ReadForm(s.opts.MaxBody)
	if err != nil {
		if err := bodyError(err); errs.KindOf(err) == errs.TooLarge {
			return nil, err
		}
		return nil, errBadForm.WithCause(err)
	}
	return form.Value, nil
}
