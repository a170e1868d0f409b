package edge

import (
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
)

// Brand is how our own pages look. All of it is optional.
type Brand struct {
	Color      string // of the accent: "#" and six hexadecimal digits
	LogoFile   string // PNG, JPEG, GIF, WebP or SVG, at most 64 KiB; it becomes a part of each page
	SupportURL string // https://, http:// or mailto:, offered where waiting doesn't help
}

const (
	defaultColor = "#714b67"
	largestLogo  = 64 << 10
)

var colorPattern = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// brand is a Brand as the pages use it.
type brand struct {
	Name       string
	Color      template.CSS
	Logo       template.URL
	SupportURL template.URL
}

func newBrand(name string, b Brand) (brand, error) {
	out := brand{Name: name, Color: defaultColor}
	if b.Color != "" {
		if !colorPattern.MatchString(b.Color) {
			return out, errors.New(`the brand's colour must look like "#714b67"`)
		}
		out.Color = template.CSS(b.Color) //nolint:gosec // checked above
	}
	if b.SupportURL != "" {
		u, err := url.Parse(b.SupportURL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "mailto" {
			return out, errors.New("the support address must be an https, http or mailto address")
		}
		out.SupportURL = template.URL(u.String()) //nolint:gosec // checked above
	}
	if b.LogoFile != "" {
		logo, err := readLogo(b.LogoFile)
		if err != nil {
			return out, err
		}
		out.Logo = logo
	}
	return out, nil
}

func readLogo(name string) (template.URL, error) {
	image, err := os.ReadFile(name) //nolint:gosec // the operator's choice
	if err != nil {
		return "", fmt.Errorf("read the logo: %w", err)
	}
	kind := http.DetectContentType(image)
	if strings.HasSuffix(strings.ToLower(name), ".svg") {
		kind = "image/svg+xml" // shown as an image, in which scripts don't run
	}
	if !strings.HasPrefix(kind, "image/") || len(image) > largestLogo {
		return "", fmt.Errorf("the logo %s must be an image of at most %d KiB", name, largestLogo>>10)
	}
	return template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(image)), nil //nolint:gosec // made here
}
