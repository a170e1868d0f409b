package api

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/go-playground/validator/v10"

	"controlplane/internal/errs"
)

// checker applies the validate tags of request types. Rules that need our data or the domain's knowledge are the services'.
type checker struct {
	validate *validator.Validate
}

func newChecker() *checker {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string { return f.Tag.Get("json") })
	return &checker{validate: v}
}

func (c *checker) check(in any) error {
	err := c.validate.Struct(in)
	var failures validator.ValidationErrors
	if !errors.As(err, &failures) {
		return err
	}
	fields := make([]errs.Field, 0, len(failures))
	for _, f := range failures {
		fields = append(fields, errs.Field{Name: f.Field(), Code: f.Tag(), Message: ruleText(f)})
	}
	return invalidFields(fields)
}

func ruleText(f validator.FieldError) string {
	switch f.Tag() {
	case "required":
		return fmt.Sprintf("%s is required.", f.Field())
	case "max":
		return fmt.Sprintf("%s may have at most %s characters.", f.Field(), f.Param())
	case "min":
		return fmt.Sprintf("%s must have at least %s characters.", f.Field(), f.Param())
	}
	return fmt.Sprintf("%s isn't acceptable.", f.Field())
}
